#include "ropescope/rope/drift.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <vector>

#include <ATen/ops/zeros.h>

namespace ropescope {

namespace {

constexpr double kSameId = 1e-6;

/// Of each axis, its fastest channel's frequency in any head; 0 where it turns none.
std::vector<double> fastest_channels(const Frequencies& frequencies, int64_t rows) {
  const at::Tensor turns = frequencies.row_weights(rows).mul(frequencies.inv_freq.view({1, -1, 1})).abs();
  const at::Tensor fastest =
      turns.numel() == 0 ? at::zeros({rows}, at::kDouble) : turns.amax({0, 1}).contiguous();
  const auto* from = fastest.const_data_ptr<double>();
  return {from, from + rows};
}

/// One axis: ids by row and column, and what a later token adds.
struct AxisStep {
  double by_row = 0, by_column = 0, by_token = 0;
  bool affine = true;
  bool tells_cells_apart = false;
};

AxisStep axis_step(const double* ids, const std::vector<int64_t>& cells, int64_t rows, int64_t columns) {
  AxisStep step;
  const auto id = [&](int64_t row, int64_t column) {
    return ids[cells[static_cast<size_t>(row * columns + column)]];
  };
  if (rows > 1) step.by_row = (id(rows - 1, 0) - id(0, 0)) / static_cast<double>(rows - 1);
  if (columns > 1) step.by_column = (id(0, columns - 1) - id(0, 0)) / static_cast<double>(columns - 1);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column) {
      const double fit =
          id(0, 0) + step.by_row * static_cast<double>(row) + step.by_column * static_cast<double>(column);
      step.affine = step.affine && std::abs(id(row, column) - fit) < 1e-4;
      step.tells_cells_apart = step.tells_cells_apart || std::abs(id(row, column) - id(0, 0)) > kSameId;
    }
  }
  return step;
}

/// (x, y) with u x + v y = g on all axes; none if there is none.
std::optional<std::array<double, 2>> shift_of(const std::vector<AxisStep>& axes) {
  std::optional<std::array<double, 2>> shift;
  for (size_t a = 0; a < axes.size() && !shift; ++a) {
    for (size_t b = a + 1; b < axes.size() && !shift; ++b) {
      const double determinant = axes[a].by_row * axes[b].by_column - axes[b].by_row * axes[a].by_column;
      if (std::abs(determinant) < kSameId) continue;
      shift = {(axes[a].by_token * axes[b].by_column - axes[b].by_token * axes[a].by_column) / determinant,
               (axes[a].by_row * axes[b].by_token - axes[b].by_row * axes[a].by_token) / determinant};
    }
  }
  if (!shift) {  // one direction of ids: along the denser of rows and columns
    const AxisStep& only = axes.front();
    const double row = std::abs(only.by_row), column = std::abs(only.by_column);
    const bool along_row = column > kSameId && (row <= kSameId || column <= row);
    if (along_row) {
      shift = {0, only.by_token / only.by_column};
    } else {
      shift = {only.by_token / only.by_row, 0};
    }
  }
  for (const AxisStep& axis : axes) {
    const double left = axis.by_row * (*shift)[0] + axis.by_column * (*shift)[1] - axis.by_token;
    if (std::abs(left) > 1e-4) return std::nullopt;
  }
  return shift;
}

}  // namespace

DriftPrediction predict_drift(const Scheme& scheme, const Positions& positions,
                              const Frequencies& frequencies, const std::vector<int64_t>& cells, int64_t rows,
                              int64_t columns) {
  const std::vector<double> fastest = fastest_channels(frequencies, positions.coordinates.size(0));
  const at::Tensor coordinates = positions.coordinates.contiguous();
  const at::Tensor later = scheme.generated_positions(positions, 0, 2);
  std::vector<AxisStep> axes;
  DriftPrediction drift;
  bool affine = true, moves = false;
  for (int64_t axis = 0; axis < coordinates.size(0); ++axis) {
    const double frequency = fastest[static_cast<size_t>(axis)];
    if (frequency == 0) continue;
    AxisStep step = axis_step(coordinates[axis].const_data_ptr<double>(), cells, rows, columns);
    if (!step.tells_cells_apart) continue;
    // Anchored ids, which DIPE's queries take against pictures, stay as they are while text goes on.
    if (!positions.anchors.defined())
      step.by_token = later[axis][1].item<double>() - later[axis][0].item<double>();
    affine = affine && step.affine;
    moves = moves || std::abs(step.by_token) > kSameId;
    drift.phase = std::max(drift.phase, frequency * std::abs(step.by_token));
    axes.push_back(step);
  }
  if (!moves) return drift;
  const auto shift = affine ? shift_of(axes) : std::nullopt;
  drift.kind = shift ? DriftPrediction::Kind::kShift : DriftPrediction::Kind::kOther;
  drift.rows = shift ? (*shift)[0] : NAN;
  drift.columns = shift ? (*shift)[1] : NAN;
  return drift;
}

std::string drift_kind_name(DriftPrediction::Kind kind) {
  switch (kind) {
    case DriftPrediction::Kind::kNone:
      return "none";
    case DriftPrediction::Kind::kShift:
      return "shift";
    default:
      return "other";
  }
}

Json to_json(const DriftPrediction& drift) {
  const auto value = [](double x) { return std::isfinite(x) ? Json(x) : Json(); };
  return {{"kind", drift_kind_name(drift.kind)},
          {"rows", value(drift.rows)},
          {"columns", value(drift.columns)},
          {"phase", drift.phase}};
}

}  // namespace ropescope
