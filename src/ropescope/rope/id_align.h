// The mapping of ID-Align (arXiv 2505.21465, Appendix B): the raster of thumbnail ids resized to the
// high-resolution grid, so that every high-resolution token names one thumbnail cell.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ropescope/rope/layout.h"
#include "ropescope/rope/wrong_cells.h"

namespace ropescope {

/// nearest: row floor(r H0/H1), column floor(c W0/W1), in exact integers (torch's float32 product is one less
/// for some grids from 74 rows on). nearest-exact: floor((r + 1/2) H0/H1) as torch computes it, in float32.
/// bilinear: the ids y W0 + x interpolated (half-pixel centres, float32) and rounded, which mixes rows.
/// dhr (CoMemo, arXiv 2506.06279): of X tiles along a side of n cells, point j of tile a falls into cell
/// floor(a s + j s/(n-1)), s = n/X - 1e-6, which is computed as its limit in whole numbers: with N = (a(n-1)+j) n cell 0
/// where N = 0, else floor((N-1)/(X(n-1))). The grid must be whole tiles of the thumbnail's size. dhr-column: the same,
/// but tile k, counted row by row, takes the ids of the k-th tile counted column by column (CoMemo's released code).
enum class ResizeRule { kNearest, kNearestExact, kBilinear, kDhr, kDhrByColumn };

/// How high-resolution tokens find the thumbnail cell whose coordinates they inherit.
struct Alignment {
  // Not explicit: a rule alone is an alignment without mistakes.
  Alignment(ResizeRule rule, WrongCells mistakes = {}) : resize(rule), wrong(mistakes) {}  // NOLINT
  ResizeRule resize;
  WrongCells wrong;
};

std::vector<std::string> resize_rule_names();
/// Throws UsageError naming what exists.
ResizeRule parse_resize_rule(const std::string& name);

class AlignedRaster {
 public:
  /// Memory grows with high_h + high_w (nearest and dhr), with high_h * high_w for the others and for wrong cells. Throws
  /// UsageError for a grid that dhr is not defined for.
  AlignedRaster(const Grid& thumbnail, int64_t high_h, int64_t high_w, const Alignment& alignment);

  /// Thumbnail cell (y W0 + x) of the high-resolution token at row, column.
  int64_t cell(int64_t row, int64_t column) const {
    return !mixed_.empty() ? mixed_[static_cast<size_t>(row * high_w_ + column)]
                           : rows_[static_cast<size_t>(row)] + columns_[static_cast<size_t>(column)];
  }
  /// Cell of the last token of a row; of a row without tokens (a very narrow picture), the thumbnail row's
  /// last.
  int64_t last_cell_of_row(int64_t row) const;

 private:
  void mix_tiles(const Grid& thumbnail, int64_t high_h);
  void mix_rows(const Grid& thumbnail, int64_t high_h);
  void write_out(int64_t high_h);

  int64_t high_w_, thumbnail_w_;
  std::vector<int64_t> rows_, columns_;  // rows_ already times W0
  std::vector<int64_t> mixed_;           // where a row's cell depends on the column; else empty
};

}  // namespace ropescope
