// The grids of visual tokens that an attention file's maps are drawn on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ropescope/io/result_file.h"

namespace ropescope {

/// Tokens of one grid, by cell.
struct AttentionGrid {
  int64_t rows = 0, columns = 0;
  std::vector<int64_t> token;  ///< [rows * columns]; -1: none
  std::string label;           ///< "thumbnail", "high resolution", "frame 3"
  /// The picture of the file that it lies on; -1: none of which the file keeps the pixels (later frames of a block).
  int64_t picture = 0;
  bool high = false;
};

/// Of the first picture of input 0: its thumbnail or only grid, and its high-resolution grid; or of its clips: at most so
/// many frame groups, spread over all of them. Empty: no visual tokens. Throws InputError for a file that contradicts
/// itself.
std::vector<AttentionGrid> attention_grids(const ResultReader& result, int64_t most_frames = 6);

}  // namespace ropescope
