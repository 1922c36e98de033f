// YaRN, arXiv 2309.00071: f/k * ramp + f * (1 - ramp), times an attention factor.
#include <algorithm>
#include <cmath>

#include "ropescope/core/errors.h"
#include "ropescope/rope/scaling/scaling.h"

namespace ropescope {

namespace {

constexpr double kYarnPi = 3.14159265358979323846;

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
ScaledFrequencies yarn_frequencies(const ScalingInput& input) {
  const RopeConfig& config = input.config;
  if (!(config.beta_slow > 0 && config.beta_fast > 0)) {
    throw InputError("rope scaling \"yarn\": expected beta_fast, beta_slow > 0, found {} and {}",
                     config.beta_fast, config.beta_slow);
  }
  const double d = static_cast<double>(input.rotary_dim()), length = input.trained_length();
  if (config.theta <= 1.0) {
    throw InputError("rope scaling \"yarn\": expected rope_theta > 1, found {}", config.theta);
  }
  const auto channel_of_turns = [&](double turns) {
    return d * std::log(length / (turns * 2 * kYarnPi)) / (2 * std::log(config.theta));
  };
  double low = channel_of_turns(config.beta_fast), high = channel_of_turns(config.beta_slow);
  if (config.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, d - 1);
  if (low == high) high += 0.001;
  ScaledFrequencies result{input.plain(), yarn_attention_factor(config)};
  for (size_t i = 0; i < result.values.size(); ++i) {
    double& f = result.values[i];
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    f = f / config.factor * ramp + f * (1.0 - ramp);
  }
  return result;
}

void read_yarn_settings(const Json& json, const ScalingReader& reader, RopeConfig& rope) {
  const std::string& what = reader.what;
  rope.attention_factor = positive_setting(json, "attention_factor", what);
  rope.mscale = setting_unless_zero(json, "mscale", what);
  rope.mscale_all_dim = setting_unless_zero(json, "mscale_all_dim", what);
  rope.beta_fast = setting_unless_zero(json, "beta_fast", what).value_or(rope.beta_fast);
  rope.beta_slow = setting_unless_zero(json, "beta_slow", what).value_or(rope.beta_slow);
  rope.truncate = json_bool_or(json, "truncate", rope.truncate, what);
}

}  // namespace

extern const ContextScaling kYarnScaling = {
    RopeType::kYarn,
    "yarn",
    {"factor", "original_max_position_embeddings", "beta_fast", "attention_factor", "beta_slow", "mscale",
     "truncate", "mscale_all_dim"},
    yarn_frequencies,
    read_yarn_settings};

}  // namespace ropescope
