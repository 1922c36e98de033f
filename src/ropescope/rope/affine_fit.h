// Least squares of positions on grid coordinates.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace ropescope {

struct FitPoints {
  int64_t rows = 3;                          ///< coordinates of a position
  std::vector<std::array<double, 3>> cells;  ///< frame, row, column
  std::vector<double> positions;             ///< rows numbers a cell

  void clear() {
    cells.clear();
    positions.clear();
  }
};

struct AffineFit {
  double residual = 0;  ///< largest |position - fit| of any coordinate
  int64_t rank = 0;     ///< of the fit's linear part; slopes below 1e-6 count as none
};

/// position = M cell + c with the smallest sum of squares. Linear in the points; float64.
AffineFit fit_affine(const FitPoints& points);

}  // namespace ropescope
