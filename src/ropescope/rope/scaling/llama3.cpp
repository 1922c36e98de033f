// Llama 3.1: by wavelength a frequency is kept, divided by k, or lies between.
#include "ropescope/core/errors.h"
#include "ropescope/rope/scaling/scaling.h"

namespace ropescope {

namespace {

constexpr double kLlama3Pi = 3.14159265358979323846;

ScaledFrequencies llama3_frequencies(const ScalingInput& input) {
  const RopeConfig& config = input.config;
  input.rotary_dim();
  const double length = input.trained_length();
  const double low = config.low_freq_factor, high = config.high_freq_factor;
  if (!(low > 0) || !(high >= low)) {
    throw InputError(
        "rope scaling \"llama3\": expected 0 < low_freq_factor <= high_freq_factor, found {} and {}", low,
        high);
  }
  ScaledFrequencies result{input.plain()};
  for (double& f : result.values) {
    const double wavelength = 2 * kLlama3Pi / f;
    if (wavelength < length / high) continue;
    if (wavelength > length / low || high == low) {  // equal: no band lies between
      f /= config.factor;
    } else {
      const double smooth = (length / wavelength - low) / (high - low);
      f = (1 - smooth) * f / config.factor + smooth * f;
    }
  }
  return result;
}

void read_llama3(const Json& json, const ScalingReader& reader, RopeConfig& rope) {
  rope.low_freq_factor =
      positive_setting(json, "low_freq_factor", reader.what).value_or(rope.low_freq_factor);
  rope.high_freq_factor =
      positive_setting(json, "high_freq_factor", reader.what).value_or(rope.high_freq_factor);
  // Equal ones leave no band between what is kept and what is divided (Llama 4 Scout).
  if (rope.high_freq_factor < rope.low_freq_factor) {
    throw InputError("{}: expected high_freq_factor >= low_freq_factor, found {} and {}", reader.what,
                     rope.high_freq_factor, rope.low_freq_factor);
  }
}

}  // namespace

extern const ContextScaling kLlama3Scaling = {
    RopeType::kLlama3,
    "llama3",
    {"factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"},
    llama3_frequencies,
    read_llama3};

}  // namespace ropescope
