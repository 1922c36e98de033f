// What the readers of layouts, text and JSON, share.
#pragma once

#include <array>
#include <string>

#include "ropescope/rope/tiled_block.h"

namespace ropescope {

/// The counts of a TiledPicture by their names in text and JSON.
struct TilingCount {
  const char* name;
  int64_t TiledPicture::*count;
};
inline constexpr std::array<TilingCount, 6> kTilingCounts = {{{"before", &TiledPicture::before},
                                                              {"between", &TiledPicture::between},
                                                              {"after", &TiledPicture::after},
                                                              {"row", &TiledPicture::row_end},
                                                              {"gap", &TiledPicture::gap},
                                                              {"end", &TiledPicture::end}}};

/// Empty when the segment is possible, else what was expected.
std::string segment_fault(const Segment& segment);

/// Gives a block that has its two grids the pieces of an order in words, tiles being of the thumbnail's size;
/// `tiling` brings order and counts. Gives what was expected where that is not possible.
std::string lay_tiles(Segment& segment, TiledPicture tiling);

}  // namespace ropescope
