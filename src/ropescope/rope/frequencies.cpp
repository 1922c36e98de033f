#include "ropescope/rope/frequencies.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/nearest_name.h"

namespace ropescope {

namespace {

constexpr double kPi = 3.14159265358979323846;

const std::array<std::pair<RopeType, std::string>, 8>& type_names() {
  static const std::array<std::pair<RopeType, std::string>, 8> names = {{
      {RopeType::kDefault, "default"},
      {RopeType::kLinear, "linear"},
      {RopeType::kDynamic, "dynamic"},
      {RopeType::kNtk, "ntk"},
      {RopeType::kYarn, "yarn"},
      {RopeType::kLlama3, "llama3"},
      {RopeType::kProportional, "proportional"},
      {RopeType::kLongrope, "longrope"},
  }};
  return names;
}

using Values = std::vector<double>;

// base^(-2i/d), i = 0..count-1.
Values plain_frequencies(double base, int64_t dim, int64_t count) {
  Values values(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    values[static_cast<size_t>(i)] =
        1.0 / std::pow(base, static_cast<double>(2 * i) / static_cast<double>(dim));
  }
  return values;
}

// Widening the base by k^(d/(d-2)) stretches the slowest channel by k and leaves the fastest alone.
double widened_base(double theta, double stretch, int64_t dim) {
  if (dim <= 2) {
    throw InputError("rope scaling: a changed base needs a rotary dimension above 2, found {}", dim);
  }
  return theta * std::pow(stretch, static_cast<double>(dim) / static_cast<double>(dim - 2));
}

double trained_length(const RopeConfig& config, int64_t max_position_embeddings) {
  const int64_t length = config.original_max_position_embeddings.value_or(max_position_embeddings);
  if (length <= 0) {
    throw InputError("rope scaling \"{}\": expected original_max_position_embeddings > 0, found {}",
                     rope_type_name(config.type), length);
  }
  return static_cast<double>(length);
}

double yarn_attention_factor(const RopeConfig& config) {
  if (config.attention_factor) return *config.attention_factor;
  const auto scale = [&](double mscale) {
    return config.factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(config.factor) + 1.0;
  };
  const double mscale = config.mscale.value_or(0), all_dim = config.mscale_all_dim.value_or(0);
  if (mscale != 0 && all_dim != 0) return scale(mscale) / scale(all_dim);  // 0 counts as not given
  return scale(1.0);
}

// Channels below `low` turn so fast within the trained length that they keep f; those above `high` never made
// a full turn and take f / k; the ramp lies between.
Values yarn_frequencies(const RopeConfig& config, int64_t dim, double length) {
  const double d = static_cast<double>(dim);
  if (config.theta <= 1.0) {
    throw InputError("rope scaling \"yarn\": expected rope_theta > 1, found {}", config.theta);
  }
  const auto channel_of_turns = [&](double turns) {
    return d * std::log(length / (turns * 2 * kPi)) / (2 * std::log(config.theta));
  };
  double low = channel_of_turns(config.beta_fast), high = channel_of_turns(config.beta_slow);
  if (config.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, d - 1);
  if (low == high) high += 0.001;
  Values values = plain_frequencies(config.theta, dim, dim / 2);
  for (size_t i = 0; i < values.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    values[i] = values[i] / config.factor * ramp + values[i] * (1.0 - ramp);
  }
  return values;
}

Values llama3_frequencies(const RopeConfig& config, int64_t dim, double length) {
  const double low = config.low_freq_factor, high = config.high_freq_factor;
  if (!(low > 0) || !(high >= low)) {
    throw InputError(
        "rope scaling \"llama3\": expected 0 < low_freq_factor <= high_freq_factor, found {} and {}", low,
        high);
  }
  Values values = plain_frequencies(config.theta, dim, dim / 2);
  for (double& f : values) {
    const double wavelength = 2 * kPi / f;
    if (wavelength < length / high) continue;
    if (wavelength > length / low || high == low) {  // equal: no band lies between
      f /= config.factor;
    } else {
      const double smooth = (length / wavelength - low) / (high - low);
      f = (1 - smooth) * f / config.factor + smooth * f;
    }
  }
  return values;
}

Values longrope_frequencies(const RopeConfig& config, int64_t dim, double length, double sequence_length) {
  const bool longer = sequence_length > length;
  const Values& divisors = longer ? config.long_factor : config.short_factor;
  Values values = plain_frequencies(config.theta, dim, dim / 2);
  if (divisors.size() != values.size()) {
    throw InputError("rope scaling \"longrope\": {}: expected {} numbers, found {}",
                     longer ? "long_factor" : "short_factor", values.size(), divisors.size());
  }
  for (size_t i = 0; i < values.size(); ++i) values[i] /= divisors[i];
  return values;
}

/// The same for short and long runs.
double longrope_attention_factor(const RopeConfig& config, int64_t max_position_embeddings) {
  if (config.attention_factor) return *config.attention_factor;
  const double length = trained_length(config, max_position_embeddings);
  const double stretch =
      config.factor == 1 ? static_cast<double>(max_position_embeddings) / length : config.factor;
  if (stretch <= 1) return 1;
  if (length <= 1) {
    throw InputError("rope scaling \"longrope\": expected original_max_position_embeddings > 1, found {}",
                     length);
  }
  return std::sqrt(1 + std::log(stretch) / std::log(length));
}

double attention_scale_of(const RopeConfig& config, int64_t max_position_embeddings) {
  if (config.type == RopeType::kYarn) return yarn_attention_factor(config);
  if (config.type == RopeType::kLongrope) return longrope_attention_factor(config, max_position_embeddings);
  return 1;
}

void check_config(const RopeConfig& config, int64_t head_dim) {
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
  if (config.type == RopeType::kYarn && !(config.beta_slow > 0 && config.beta_fast > 0)) {
    throw InputError("rope scaling \"yarn\": expected beta_fast, beta_slow > 0, found {} and {}",
                     config.beta_fast, config.beta_slow);
  }
}

Values scaled_frequencies(const RopeConfig& config, int64_t head_dim, int64_t max_position_embeddings,
                          double sequence_length) {
  const double k = config.factor;
  if (config.type == RopeType::kProportional) {
    if (head_dim % 2 != 0) throw InputError("rope: expected an even head dimension, found {}", head_dim);
    const auto rotated =
        static_cast<int64_t>(config.partial_rotary_factor * static_cast<double>(head_dim)) / 2;
    Values values = plain_frequencies(config.theta, head_dim, rotated);
    for (double& f : values) f /= k;
    values.resize(static_cast<size_t>(head_dim / 2), 0.0);
    return values;
  }
  const auto dim = static_cast<int64_t>(static_cast<double>(head_dim) * config.partial_rotary_factor);
  if (dim < 2 || dim % 2 != 0) {
    throw InputError("rope: expected an even rotary dimension of at least 2, found {} (head_dim {} * {})",
                     dim, head_dim, config.partial_rotary_factor);
  }
  switch (config.type) {
    case RopeType::kDefault:
    case RopeType::kProportional:
      break;
    case RopeType::kLinear: {
      Values values = plain_frequencies(config.theta, dim, dim / 2);
      for (double& f : values) f /= k;
      return values;
    }
    case RopeType::kNtk:
      return plain_frequencies(widened_base(config.theta, k, dim), dim, dim / 2);
    case RopeType::kDynamic: {
      const double trained = trained_length(config, max_position_embeddings);
      const double stretch = k * std::max(sequence_length, trained) / trained - (k - 1);
      return plain_frequencies(widened_base(config.theta, stretch, dim), dim, dim / 2);
    }
    case RopeType::kYarn:
      return yarn_frequencies(config, dim, trained_length(config, max_position_embeddings));
    case RopeType::kLlama3:
      return llama3_frequencies(config, dim, trained_length(config, max_position_embeddings));
    case RopeType::kLongrope:
      return longrope_frequencies(config, dim, trained_length(config, max_position_embeddings),
                                  sequence_length);
  }
  return plain_frequencies(config.theta, dim, dim / 2);
}

}  // namespace

RopeType parse_rope_type(const std::string& name) {
  std::vector<std::string> known;
  for (const auto& [type, type_name] : type_names()) {
    if (type_name == name) return type;
    known.push_back(type_name);
  }
  std::string list;
  for (const std::string& one : known) list += (list.empty() ? "" : ", ") + one;
  const std::string near = nearest_name(name, known);
  throw UsageError("rope type \"{}\": expected one of {}{}", name, list,
                   near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near));
}

std::string rope_type_name(RopeType type) {
  for (const auto& [known, name] : type_names()) {
    if (known == type) return name;
  }
  throw InternalError("rope type {} has no name", static_cast<int>(type));
}

bool depends_on_length(const RopeConfig& config) {
  return config.type == RopeType::kDynamic || config.type == RopeType::kLongrope;
}

at::Tensor Frequencies::row_weights(int64_t rows) const {
  if (weights.defined()) return weights;
  at::Tensor result = at::zeros({axis.size(0), axis.size(1), rows}, at::kDouble);
  const at::Tensor turning = axis.ge(0).to(at::kDouble).unsqueeze(2);
  return result.scatter_(2, axis.clamp(0, rows - 1).unsqueeze(2), turning);
}

Frequencies make_frequencies(const RopeConfig& config, int64_t head_dim, int64_t max_position_embeddings,
                             double sequence_length) {
  check_config(config, head_dim);
  const Values values = scaled_frequencies(config, head_dim, max_position_embeddings, sequence_length);
  const auto count = static_cast<int64_t>(values.size());
  Frequencies frequencies;
  frequencies.inv_freq = at::empty({count}, at::kDouble);
  std::copy(values.begin(), values.end(), frequencies.inv_freq.data_ptr<double>());
  frequencies.axis = at::zeros({1, count}, at::kLong);
  frequencies.attention_scale = attention_scale_of(config, max_position_embeddings);
  frequencies.head_dim = head_dim;
  return frequencies;
}

}  // namespace ropescope
