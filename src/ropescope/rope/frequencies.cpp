#include "ropescope/rope/frequencies.h"

#include <algorithm>
#include <vector>

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/nearest_name.h"
#include "ropescope/rope/scaling/scaling.h"

namespace ropescope {

RopeType parse_rope_type(const std::string& name) {
  std::vector<std::string> known;
  for (const ContextScaling& scaling : context_scalings()) {
    const auto& others = scaling.aliases;
    if (scaling.name == name || std::find(others.begin(), others.end(), name) != others.end())
      return scaling.type;
    known.push_back(scaling.name);
  }
  std::string list;
  for (const std::string& one : known) list += (list.empty() ? "" : ", ") + one;
  const std::string near = nearest_name(name, known);
  throw UsageError("rope type \"{}\": expected one of {}{}", name, list,
                   near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near));
}

std::string rope_type_name(RopeType type) { return scaling_of(type).name; }

bool depends_on_length(const RopeConfig& config) {
  const auto by_length = scaling_of(config.type).by_length;
  return (by_length != nullptr && by_length(config)) ||
         std::any_of(config.parts.begin(), config.parts.end(), depends_on_length);
}

std::optional<int64_t> length_of_change(const RopeConfig& config, int64_t max_position_embeddings) {
  std::optional<int64_t> shortest;
  const auto by_length = scaling_of(config.type).by_length;
  if (by_length != nullptr && by_length(config)) {
    shortest = config.original_max_position_embeddings.value_or(max_position_embeddings);
  }
  for (const RopeConfig& part : config.parts) {
    const std::optional<int64_t> of_part = length_of_change(part, max_position_embeddings);
    if (of_part && of_part < shortest.value_or(INT64_MAX)) shortest = of_part;
  }
  return shortest;
}

bool differs_by_row(const RopeConfig& config) {
  return config.type == RopeType::kPerAxis ||
         std::any_of(config.parts.begin(), config.parts.end(), differs_by_row);
}

RopeConfig config_of_row(const RopeConfig& config, const std::string& row) {
  RopeConfig result = config;
  if (config.type == RopeType::kPerAxis) {
    const auto named = std::find(config.names.begin(), config.names.end(), row);
    result = named == config.names.end()
                 ? RopeConfig{}
                 : config_of_row(config.parts[static_cast<size_t>(named - config.names.begin())], row);
    result.theta = config.theta;
    result.partial_rotary_factor = config.partial_rotary_factor;
  } else {
    for (RopeConfig& part : result.parts) part = config_of_row(part, row);
  }
  return result;
}

std::vector<std::string> rows_named(const RopeConfig& config) {
  std::vector<std::string> rows = config.names;
  for (const RopeConfig& part : config.parts) {
    for (const std::string& row : rows_named(part)) rows.push_back(row);
  }
  return rows;
}

at::Tensor Frequencies::row_weights(int64_t rows) const {
  if (weights.defined()) return weights;
  at::Tensor result = at::zeros({axis.size(0), axis.size(1), rows}, at::kDouble);
  const at::Tensor turning = axis.ge(0).to(at::kDouble).unsqueeze(2);
  return result.scatter_(2, axis.clamp(0, rows - 1).unsqueeze(2), turning);
}

Frequencies make_frequencies(const RopeConfig& config, int64_t head_dim, int64_t max_position_embeddings,
                             double sequence_length) {
  const ScaledFrequencies scaled =
      scaled_frequencies({config, head_dim, max_position_embeddings, sequence_length});
  const auto count = static_cast<int64_t>(scaled.values.size());
  Frequencies frequencies;
  frequencies.inv_freq = at::empty({count}, at::kDouble);
  std::copy(scaled.values.begin(), scaled.values.end(), frequencies.inv_freq.data_ptr<double>());
  frequencies.axis = at::zeros({1, count}, at::kLong);
  frequencies.attention_scale = scaled.attention_scale;
  frequencies.head_dim = head_dim;
  return frequencies;
}

}  // namespace ropescope
