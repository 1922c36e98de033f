#include "ropescope/rope/scaling/scaling.h"

#include <cmath>

#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

void check_settings(const RopeConfig& config, int64_t head_dim) {
  if (head_dim < 2) throw InputError("rope: expected a head dimension of at least 2, found {}", head_dim);
  if (!(config.theta > 0) || !std::isfinite(config.theta)) {
    throw InputError("rope: expected rope_theta > 0, found {}", config.theta);
  }
  if (!(config.factor > 0) || !std::isfinite(config.factor)) {
    throw InputError("rope scaling \"{}\": expected factor > 0, found {}", rope_type_name(config.type),
                     config.factor);
  }
  if (!(config.partial_rotary_factor > 0) || config.partial_rotary_factor > 1) {
    throw InputError("rope: expected 0 < partial_rotary_factor <= 1, found {}", config.partial_rotary_factor);
  }
}

}  // namespace

int64_t ScalingInput::rotary_dim() const {
  const auto dim = static_cast<int64_t>(static_cast<double>(head_dim) * config.partial_rotary_factor);
  if (dim < 2 || dim % 2 != 0) {
    throw InputError("rope: expected an even rotary dimension of at least 2, found {} (head_dim {} * {})",
                     dim, head_dim, config.partial_rotary_factor);
  }
  return dim;
}

std::vector<double> ScalingInput::plain(double base) const {
  const int64_t dim = rotary_dim();
  std::vector<double> values(static_cast<size_t>(dim / 2));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = 1.0 / std::pow(base, static_cast<double>(2 * i) / static_cast<double>(dim));
  }
  return values;
}

double ScalingInput::widened_base(double stretch) const {
  const int64_t dim = rotary_dim();
  if (dim <= 2) {
    throw InputError("rope scaling: a changed base needs a rotary dimension above 2, found {}", dim);
  }
  return config.theta * std::pow(stretch, static_cast<double>(dim) / static_cast<double>(dim - 2));
}

double ScalingInput::trained_length() const {
  const int64_t length = config.original_max_position_embeddings.value_or(max_position_embeddings);
  if (length <= 0) {
    throw InputError("rope scaling \"{}\": expected original_max_position_embeddings > 0, found {}",
                     rope_type_name(config.type), length);
  }
  return static_cast<double>(length);
}

ScaledFrequencies ScalingInput::part(const RopeConfig& one) const {
  RopeConfig whole = one;
  whole.theta = config.theta;
  whole.partial_rotary_factor = config.partial_rotary_factor;
  return scaled_frequencies({whole, head_dim, max_position_embeddings, sequence_length});
}

ScaledFrequencies scaled_frequencies(const ScalingInput& input) {
  check_settings(input.config, input.head_dim);
  return scaling_of(input.config.type).make(input);
}

std::optional<double> positive_setting(const Json& object, const char* key, const std::string& what) {
  if (!json_has(object, key)) return std::nullopt;
  const double value = json_number(object, key, what);
  if (!std::isfinite(value) || value <= 0) {
    throw InputError("{}: \"{}\": expected a finite number above 0, found {}", what, key, value);
  }
  return value;
}

std::optional<double> setting_unless_zero(const Json& object, const char* key, const std::string& what) {
  if (json_number_or(object, key, 0, what) == 0) return std::nullopt;
  return positive_setting(object, key, what);
}

std::optional<int64_t> count_setting(const Json& object, const char* key, int64_t lowest,
                                     const std::string& what) {
  if (!json_has(object, key)) return std::nullopt;
  const int64_t value = json_integer(object, key, what);
  if (value < lowest)
    throw InputError("{}: \"{}\": expected at least {}, found {}", what, key, lowest, value);
  return value;
}

}  // namespace ropescope
