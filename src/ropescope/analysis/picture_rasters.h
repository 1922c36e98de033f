// The rasters of cells that an input's pictures are made of, and where on its picture a cell lies.
#pragma once

#include <cstdint>
#include <vector>

#include "ropescope/probe/attention_input.h"

namespace ropescope {

/// A grid of visual tokens: a picture's thumbnail or only grid, the high-resolution grid of all its tiles together, or a frame.
struct PictureRaster {
  Modality kind = Modality::kImage;
  int64_t block = 0;  ///< picture or clip, from 0
  int64_t rows = 0, columns = 0;
  std::vector<int64_t> token;  ///< [rows * columns], row by row; -1: no token

  bool complete() const;
};

/// In the order of their first tokens. Newline tokens and separators belong to none.
std::vector<PictureRaster> picture_rasters(const TokenPlaces& places);

/// Corner: at an end of its row and of its column. Edge: at an end of one of the two. Interior: of neither. So in a grid of
/// one row the two ends are corners and all others edges, a grid of 2 x 2 or of one cell is all corners, and one of two rows
/// has no interior.
enum class CellClass : uint8_t { kCorner = 0, kEdge = 1, kInterior = 2 };
inline constexpr const char* kCellClassNames[] = {"corner", "edge", "interior"};

CellClass cell_class(int64_t row, int64_t column, int64_t rows, int64_t columns);

/// The tokens among `asked` that stand behind all visual tokens, ascending, each once: they see every picture wholly.
std::vector<int64_t> queries_behind_pictures(const TokenPlaces& places, std::vector<int64_t> asked);

}  // namespace ropescope
