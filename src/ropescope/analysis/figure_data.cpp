#include "ropescope/analysis/figure_data.h"

#include <algorithm>
#include <cmath>

#include <fmt/ranges.h>

#include <ATen/ops/isfinite.h>

#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

constexpr int64_t kMapColumns = 240;
/// Where distance 0 stands, as a share of the smallest distance above it.
constexpr double kZeroPosition = 0.5;

}  // namespace

at::Tensor read_axes(const ResultReader& result, const std::string& dataset, int64_t dimensions) {
  at::Tensor values = result.read(dataset).to(at::kDouble).contiguous();
  if (values.dim() != dimensions || values.numel() == 0) {
    throw InputError("{}: {}: expected {} axes, none empty; found shape [{}]", result.path().string(),
                     dataset, dimensions, fmt::join(values.sizes(), ", "));
  }
  return values;
}

at::Tensor read_shaped(const ResultReader& result, const std::string& dataset,
                       const std::vector<int64_t>& shape) {
  at::Tensor values = read_axes(result, dataset, static_cast<int64_t>(shape.size()));
  if (values.sizes() != at::IntArrayRef(shape)) {
    throw InputError("{}: {}: expected shape [{}], found [{}]", result.path().string(), dataset,
                     fmt::join(shape, ", "), fmt::join(values.sizes(), ", "));
  }
  return values;
}

std::vector<std::string> read_schemes(const ResultReader& result, const std::string& dataset) {
  std::vector<std::string> schemes = result.read_strings(dataset);
  if (schemes.empty()) {
    throw InputError("{}: {}: expected schemes, found none", result.path().string(), dataset);
  }
  return schemes;
}

std::vector<double> to_vector(const at::Tensor& values) {
  const at::Tensor flat = values.to(at::kDouble).contiguous();
  const double* data = flat.const_data_ptr<double>();
  return {data, data + flat.numel()};
}

DistanceAxis::DistanceAxis(const at::Tensor& distances, std::optional<double> max_distance)
    : distance(to_vector(distances)) {
  double smallest = INFINITY, largest = 0;
  bool zero = false;
  for (const double m : distance) {
    if (!(m >= 0) || !std::isfinite(m)) throw InputError("distances: expected numbers >= 0, found {}", m);
    if (max_distance && m > *max_distance) continue;
    zero = zero || m == 0;
    if (m > 0) smallest = std::min(smallest, m);
    largest = std::max(largest, m);
  }
  if (!std::isfinite(smallest)) smallest = largest = 1;  // distance 0 alone
  axis.label = "distance m (tokens)";
  axis.log = true;
  axis.low = zero ? smallest * kZeroPosition : smallest;
  axis.high = std::max(largest, 2 * *axis.low);
  axis.ticks = log_ticks(smallest, *axis.high);
  if (zero) axis.ticks.insert(axis.ticks.begin(), {smallest * kZeroPosition, "0"});
  for (const double m : distance) position.push_back(m == 0 ? smallest * kZeroPosition : m);
}

DistanceMap distance_map(const at::Tensor& values, const at::Tensor& distance,
                         std::optional<double> max_distance) {
  const DistanceAxis axis(distance, max_distance);
  const double low = *axis.axis.low / 1.2, high = *axis.axis.high * 1.02;
  const auto column_of = [&](double position) {
    return std::log(position / low) / std::log(high / low) * static_cast<double>(kMapColumns);
  };
  // Which distances each column averages.
  std::vector<std::vector<int64_t>> members(kMapColumns);
  for (size_t d = 0; d < axis.position.size(); ++d) {
    const double column = std::floor(column_of(axis.position[d]));
    if (column >= 0 && column < kMapColumns)
      members[static_cast<size_t>(column)].push_back(static_cast<int64_t>(d));
  }
  for (int64_t c = 0; c < kMapColumns; ++c) {
    if (!members[static_cast<size_t>(c)].empty()) continue;
    const double centre = low * std::pow(high / low, (static_cast<double>(c) + 0.5) / kMapColumns);
    const auto nearer = [&](double a, double b) {
      return std::abs(std::log(a / centre)) < std::abs(std::log(b / centre));
    };
    const auto nearest = std::min_element(axis.position.begin(), axis.position.end(), nearer);
    members[static_cast<size_t>(c)].push_back(nearest - axis.position.begin());
  }

  DistanceMap result;
  result.map.rows = values.size(0);
  result.map.columns = kMapColumns;
  const at::Tensor flat = values.to(at::kDouble).contiguous();
  const double* data = flat.const_data_ptr<double>();
  for (int64_t r = 0; r < result.map.rows; ++r) {
    for (const auto& column : members) {
      double sum = 0;
      int64_t count = 0;
      for (const int64_t d : column) {
        const double value = data[r * flat.size(1) + d];
        if (!std::isfinite(value)) continue;
        sum += value;
        ++count;
      }
      result.map.values.push_back(count > 0 ? sum / static_cast<double>(count) : NAN);
    }
  }
  result.x.label = axis.axis.label;
  for (const auto& [position, label] : axis.axis.ticks)
    result.x.ticks.emplace_back(column_of(position) - 0.5, label);
  return result;
}

at::Tensor rows_to_unit_peak(const at::Tensor& values) {
  const at::Tensor peak = values.nan_to_num(0.0).abs().amax({-1}, true);
  return values.div(peak.masked_fill(peak.eq(0), 1.0));
}

std::vector<int64_t> spread_indices(int64_t total, int64_t count) {
  std::vector<int64_t> indices;
  if (total <= count) {
    for (int64_t i = 0; i < total; ++i) indices.push_back(i);
    return indices;
  }
  for (int64_t i = 0; i < count; ++i) {
    indices.push_back(
        count == 1 ? 0 : std::lround(static_cast<double>(i * (total - 1)) / static_cast<double>(count - 1)));
  }
  return indices;
}

std::vector<int64_t> log_spread_indices(const std::vector<double>& positions, int64_t count) {
  std::vector<int64_t> indices;
  if (positions.empty()) return indices;
  const double step =
      std::log(positions.back() / positions.front()) / static_cast<double>(std::max<int64_t>(count, 1));
  double next = -INFINITY;
  for (size_t i = 0; i < positions.size(); ++i) {
    const double place = std::log(positions[i]);
    if (place < next) continue;
    indices.push_back(static_cast<int64_t>(i));
    next = place + step;
  }
  return indices;
}

std::vector<int64_t> select_values(const std::vector<double>& wanted, const at::Tensor& available,
                                   int64_t count, const std::string& flag) {
  if (wanted.empty()) return spread_indices(available.numel(), count);
  const std::vector<double> values = to_vector(available);
  std::vector<int64_t> indices;
  for (const double value : wanted) {
    const auto place = std::find_if(values.begin(), values.end(), [&](double candidate) {
      return std::abs(candidate - value) <= 1e-9 * std::abs(value);
    });
    if (place == values.end()) {
      throw UsageError("--{}: expected one of {}, found {}", flag, fmt::join(values, ", "), value);
    }
    indices.push_back(place - values.begin());
  }
  return indices;
}

std::string sources_of(const ResultReader& result, const std::string& group) {
  if (!result.has_attribute(group, "sources")) return "";
  const Attribute value = result.attribute(group, "sources");
  const auto* text = std::get_if<std::string>(&value);
  return text == nullptr ? "" : *text;
}

std::string drawn_of(size_t drawn, int64_t all, const std::string& what, const std::string& flag) {
  if (static_cast<int64_t>(drawn) >= all) return "";
  return fmt::format("{} of {} {} drawn (--{} chooses)", drawn, all, what, flag);
}

std::string joined_notes(const std::vector<std::string>& notes) {
  std::string joined;
  for (const std::string& note : notes) {
    if (!note.empty()) joined += (joined.empty() ? "" : "; ") + note;
  }
  return joined;
}

std::string theta_label(double theta) { return "θ = " + number_label(theta); }

std::string BaseAxis::label(int64_t t) const {
  if (scale.defined()) return "own θ × " + number_label(scale[t].item<double>());
  const double base = theta[t].item<double>();
  return std::isnan(base) ? "own θ" : theta_label(base);
}

const at::Tensor& BaseAxis::chosen_by() const {
  return scale.defined() && theta.isnan().any().item<bool>() ? scale : theta;
}

std::string BaseAxis::drawn_note(size_t drawn) const { return drawn_of(drawn, thetas(), "θ", "theta"); }

BaseAxis read_bases(const ResultReader& result, const std::string& group) {
  BaseAxis bases{read_axes(result, group + "/theta", 1), {}};
  if (result.has(group + "/theta_scale")) {
    bases.scale = read_shaped(result, group + "/theta_scale", {bases.thetas()});
  }
  return bases;
}

std::vector<int64_t> chosen_layers(const FigureSelection& selection, const at::Tensor& values) {
  const int64_t layers = values.size(1);
  if (selection.layers.empty()) {
    std::vector<int64_t> sampled;
    for (int64_t layer = 0; layer < layers; ++layer) {
      if (at::isfinite(values.select(1, layer)).any().item<bool>()) sampled.push_back(layer);
    }
    return sampled.empty() ? spread_indices(layers, layers) : sampled;
  }
  for (const int64_t layer : selection.layers) {
    if (layer < 0 || layer >= layers) {
      throw UsageError("--layers: expected 0 to {}, found {}", layers - 1, layer);
    }
  }
  return selection.layers;
}

std::vector<std::pair<double, std::string>> row_ticks(const std::vector<int64_t>& labels, double spacing) {
  const size_t step = (labels.size() + 11) / 12;
  std::vector<std::pair<double, std::string>> ticks;
  for (size_t i = 0; i < labels.size(); i += step) {
    ticks.emplace_back((static_cast<double>(i) + 0.5) * spacing - 0.5, std::to_string(labels[i]));
  }
  return ticks;
}

}  // namespace ropescope
