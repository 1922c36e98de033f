// The visual blocks of a layout in their places, with the ids of the text around them: what every measurement
// of a scheme walks over.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ropescope/rope/scheme.h"

namespace ropescope {

struct VisualBlock {
  const Segment* segment = nullptr;  ///< of the layout, which must outlive it
  int64_t first = 0;                 ///< index of its first token
};

/// Visual tokens with no text between them. The separators between a picture's tiles are the picture's, as
/// newline tokens are, though their modality is text; the words inside its block are text, so that a block may
/// lie in several runs.
struct VisualRun {
  std::vector<VisualBlock> blocks;  ///< those that begin in the run
  int64_t first = 0, tokens = 0;    ///< separators included
  int64_t visual = 0;               ///< tokens of a visual modality
  std::optional<double> before;     ///< t id of the last text token before the run
  double next = 0;  ///< t id of the first text token after it, or of the first generated token

  int64_t end() const { return first + tokens; }
  /// Ids that the run takes away from the text.
  double ids() const { return next - (before ? *before + 1 : 0.0); }
};

std::vector<VisualRun> visual_runs(const Layout& layout, const Positions& positions);

/// The run that a token belongs to. Throws InternalError for text.
const VisualRun& run_of(const std::vector<VisualRun>& runs, int64_t token);

/// For every high-resolution token of an anyres block, row by row, the thumbnail cell y W0 + x that it
/// belongs to: the one that `rule` assigns where it touches the token's part of the picture, else the nearest
/// one. Thumbnail and high-resolution grid cover the same picture.
std::vector<int64_t> own_cells(const Segment& block, const Alignment& alignment = ResizeRule::kNearest);

/// Whether the high-resolution token at row, column and a thumbnail cell share some of the picture.
bool touches_cell(const Segment& block, int64_t row, int64_t column, int64_t cell);

}  // namespace ropescope
