#include "ropescope/rope/affine_fit.h"

#include <algorithm>

#include <Eigen/Dense>

namespace ropescope {

namespace {

using Vector = Eigen::Vector3d;
using Matrix = Eigen::Matrix3d;

// Three coordinates from `first` on; what is beyond the last is 0.
class Triples {
 public:
  Triples(const FitPoints& points, int64_t first) : points_(points), first_(first) {}

  Vector cell(size_t i) const { return {points_.cells[i][0], points_.cells[i][1], points_.cells[i][2]}; }
  Vector position(size_t i) const {
    Vector result = Vector::Zero();
    const double* from = points_.positions.data() + static_cast<int64_t>(i) * points_.rows;
    for (int64_t row = first_; row < std::min(points_.rows, first_ + 3); ++row)
      result[row - first_] = from[row];
    return result;
  }

 private:
  const FitPoints& points_;
  int64_t first_;
};

// Slopes [cell, position] of three coordinates; the largest residual goes into `residual`.
Matrix fit_triple(const FitPoints& points, int64_t first, double& residual) {
  const Triples of(points, first);
  const size_t total = points.cells.size();
  Vector cell_mean = Vector::Zero(), position_mean = Vector::Zero();
  for (size_t i = 0; i < total; ++i) {
    cell_mean += of.cell(i);
    position_mean += of.position(i);
  }
  const auto count = static_cast<double>(total);
  cell_mean /= count;
  position_mean /= count;
  // Centred, the normal equations are 3 x 3 and well conditioned: frame, row and column hardly correlate.
  Matrix cells = Matrix::Zero(), cross = Matrix::Zero();
  for (size_t i = 0; i < total; ++i) {
    const Vector cell = of.cell(i) - cell_mean;
    cells += cell * cell.transpose();
    cross += cell * (of.position(i) - position_mean).transpose();
  }
  Matrix slopes = cells.completeOrthogonalDecomposition().solve(cross);
  for (size_t i = 0; i < total; ++i) {
    const Vector missed = of.position(i) - position_mean - slopes.transpose() * (of.cell(i) - cell_mean);
    residual = std::max(residual, missed.cwiseAbs().maxCoeff());
  }
  return slopes;
}

}  // namespace

AffineFit fit_affine(const FitPoints& points) {
  if (points.cells.empty()) return {};
  AffineFit fit;
  const int64_t triples = std::max<int64_t>(1, (points.rows + 2) / 3);
  Eigen::Matrix<double, 3, Eigen::Dynamic> slopes(3, 3 * triples);
  for (int64_t i = 0; i < triples; ++i) {
    slopes.block<3, 3>(0, 3 * i) = fit_triple(points, 3 * i, fit.residual);
  }
  constexpr double kNoSlope = 1e-6;
  const auto singular = slopes.jacobiSvd().singularValues();
  fit.rank = (singular.array() > kNoSlope).count();
  return fit;
}

}  // namespace ropescope
