// What the readers of layouts, text and JSON, share.
#pragma once

#include <array>
#include <string>

#include "ropescope/rope/tiled_block.h"

namespace ropescope {

/// The counts of a Tiling by their names in text and JSON.
struct TilingCount {
  const char* name;
  int64_t Tiling::*count;
};
inline constexpr std::array<TilingCount, 6> kTilingCounts = {{{"before", &Tiling::before},
                                                              {"between", &Tiling::between},
                                                              {"after", &Tiling::after},
                                                              {"row", &Tiling::row_end},
                                                              {"gap", &Tiling::gap},
                                                              {"end", &Tiling::end}}};

/// Empty when the segment is possible, else what was expected.
std::string segment_fault(const Segment& segment);

/// Gives a block that has its two grids the pieces of an order in words, tiles being of the thumbnail's size;
/// `tiling` brings order and counts. Gives what was expected where that is not possible.
std::string lay_tiles(Segment& segment, Tiling tiling);

}  // namespace ropescope
