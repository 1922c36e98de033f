#include "ropescope/rope/affine_fit.h"

#include <algorithm>

#include <Eigen/Dense>

namespace ropescope {

AffineFit fit_affine(const std::vector<FitPoint>& points) {
  using Vector = Eigen::Vector3d;
  using Matrix = Eigen::Matrix3d;
  if (points.empty()) return {};
  const auto vector = [](const std::array<double, 3>& values) {
    return Vector(values[0], values[1], values[2]);
  };
  Vector cell_mean = Vector::Zero(), position_mean = Vector::Zero();
  for (const FitPoint& point : points) {
    cell_mean += vector(point.cell);
    position_mean += vector(point.position);
  }
  const auto count = static_cast<double>(points.size());
  cell_mean /= count;
  position_mean /= count;
  // Centred, the normal equations are 3 x 3 and well conditioned: frame, row and column hardly correlate.
  Matrix cells = Matrix::Zero(), cross = Matrix::Zero();
  for (const FitPoint& point : points) {
    const Vector cell = vector(point.cell) - cell_mean;
    cells += cell * cell.transpose();
    cross += cell * (vector(point.position) - position_mean).transpose();
  }
  const Matrix slopes = cells.completeOrthogonalDecomposition().solve(cross);  // [cell, position]
  AffineFit fit;
  for (const FitPoint& point : points) {
    const Vector missed =
        vector(point.position) - position_mean - slopes.transpose() * (vector(point.cell) - cell_mean);
    fit.residual = std::max(fit.residual, missed.cwiseAbs().maxCoeff());
  }
  constexpr double kNoSlope = 1e-6;
  const auto singular = slopes.jacobiSvd().singularValues();
  fit.rank = (singular.array() > kNoSlope).count();
  return fit;
}

}  // namespace ropescope
