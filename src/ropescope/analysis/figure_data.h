// From datasets to what figures draw: checked tensors, distance axes, maps with logarithmic columns.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/analysis/figures.h"
#include "ropescope/io/figure.h"
#include "ropescope/io/result_file.h"

namespace ropescope {

/// float64 CPU contiguous. Throws InputError unless it has `dimensions` axes and no empty one.
at::Tensor read_axes(const ResultReader& result, const std::string& dataset, int64_t dimensions);
/// The same; throws InputError unless its shape is `shape`.
at::Tensor read_shaped(const ResultReader& result, const std::string& dataset,
                       const std::vector<int64_t>& shape);

/// Names of schemes. Throws InputError if there are none.
std::vector<std::string> read_schemes(const ResultReader& result, const std::string& dataset);

std::vector<double> to_vector(const at::Tensor& values);

/// A logarithmic axis of distances in tokens. Distance 0, which has no logarithm, stands half a decade's
/// third left of the first one and is labelled 0.
struct DistanceAxis {
  DistanceAxis(const at::Tensor& distance, std::optional<double> max_distance);
  Axis axis;
  std::vector<double> position;  ///< of each distance on the axis
  std::vector<double> distance;
};

/// values [rows, D] in columns of equal width on the logarithm of the distance: the mean of the distances
/// that fall into a column, or the nearest one.
struct DistanceMap {
  HeatMap map;
  Axis x;
};
DistanceMap distance_map(const at::Tensor& values, const at::Tensor& distance,
                         std::optional<double> max_distance);

/// Each row divided by its largest magnitude: shapes of rows whose sizes differ by orders become comparable.
at::Tensor rows_to_unit_peak(const at::Tensor& values);

/// At most `count` of `total` indices, evenly spread, first and last included.
std::vector<int64_t> spread_indices(int64_t total, int64_t count);

/// Indices of about `count` ascending positions (> 0), evenly spread on their logarithm.
std::vector<int64_t> log_spread_indices(const std::vector<double>& positions, int64_t count);

/// Indices of `wanted` in `available`; all (at most `count`, spread) when nothing is wanted. Throws
/// UsageError naming `flag` for a value that is not there.
std::vector<int64_t> select_values(const std::vector<double>& wanted, const at::Tensor& available,
                                   int64_t count, const std::string& flag);

/// Panels of one figure where each theta has its own.
inline constexpr int64_t kMostThetaPanels = 4;

/// Cells of a raster made from tokens' rows and columns: more come from a damaged file.
inline constexpr int64_t kMostCells = int64_t{1} << 24;

/// "θ = 10⁴".
std::string theta_label(double theta);

/// The columns of a result: rotary bases, or multiples of the layers' own.
struct BaseAxis {
  at::Tensor theta;
  at::Tensor scale;  ///< of the layers' own bases; undefined where columns are bases
  int64_t thetas() const { return theta.size(0); }
  /// "θ = 10⁴", "own θ × 4", "own θ" where layers have several.
  std::string label(int64_t t) const;
  /// What --theta chooses by.
  const at::Tensor& chosen_by() const;
  /// "4 of 7 θ drawn (--theta chooses)"; empty where all are.
  std::string drawn_note(size_t drawn) const;
};
/// `group`/theta and, where it is there, `group`/theta_scale.
BaseAxis read_bases(const ResultReader& result, const std::string& group);

/// Layers that a map shows: those selected, or all that were sampled. `values`: [theta, layers, ...], NaN where nothing was.
/// Throws UsageError for one beyond the model.
std::vector<int64_t> chosen_layers(const FigureSelection& selection, const at::Tensor& values);

/// Ticks of a map's rows, `spacing` cells each, at most about twelve of them labelled.
std::vector<std::pair<double, std::string>> row_ticks(const std::vector<int64_t>& labels, double spacing);

/// The attribute `sources` of a group (names of the model and the texts); empty where there is none.
std::string sources_of(const ResultReader& result, const std::string& group);
/// "4 of 7 θ drawn (--theta chooses)"; empty where all are.
std::string drawn_of(size_t drawn, int64_t all, const std::string& what, const std::string& flag);
/// What is not empty, with "; " between.
std::string joined_notes(const std::vector<std::string>& notes);

}  // namespace ropescope
