// Least squares of positions on grid coordinates.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace ropescope {

struct FitPoint {
  std::array<double, 3> cell{};      ///< frame, row, column
  std::array<double, 3> position{};  ///< t, h, w
};

struct AffineFit {
  double residual = 0;  ///< largest |position - fit| of any coordinate
  int64_t rank = 0;     ///< of the fit's linear part; slopes below 1e-6 count as none
};

/// position = M cell + c with the smallest sum of squares. Linear in the points; float64.
AffineFit fit_affine(const std::vector<FitPoint>& points);

}  // namespace ropescope
