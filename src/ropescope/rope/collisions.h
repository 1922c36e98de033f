// Tokens that share all their coordinates: what coherence counts, and what ID-Align means.
#pragma once

#include <cstdint>
#include <vector>

#include "ropescope/rope/scheme.h"
#include "ropescope/rope/visual_runs.h"

namespace ropescope {

/// Rows of the coordinates that reach the rotation.
struct UsedAxes {
  std::vector<size_t> all;
  bool t = false;  ///< the first row is one of them
};

/// Where each row of coordinates [rows, tokens] begins.
using RowPointers = std::vector<const double*>;
RowPointers row_pointers(const at::Tensor& coordinates);

/// The cell of every token: tokens of one cell are meant to share their coordinates. Without ID-Align every token is a
/// cell of its own; under it high-resolution tokens, and newlines and separators that inherit, are of their thumbnail token's.
std::vector<int64_t> intended_cells(const Scheme& scheme, const std::vector<VisualRun>& runs,
                                    const Positions& positions);

/// Modality by token; separators that inherit a place are of the picture here, as newline tokens are.
std::vector<uint8_t> judged_modality(const Positions& positions, const std::vector<int64_t>& cells);

struct Collisions {
  /// Pairs of tokens that share their coordinates on the used axes, those of one cell left out.
  int64_t visual_text = 0, visual_visual = 0;
};

/// `generated` [rows, n]: coordinates of text that follows. Time is that of a sort of all tokens.
Collisions count_collisions(const Positions& positions, const at::Tensor& generated, const UsedAxes& used,
                            const std::vector<uint8_t>& kinds, const std::vector<int64_t>& cells);

}  // namespace ropescope
