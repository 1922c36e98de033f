// Back from Llama-3 frequency factors to the settings that they were made from.
#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "ropescope/architectures/gguf_config.h"
#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

// Files hold float32 factors that their converter computed in float32.
constexpr double kTolerance = 1e-5;

/// 1 / wavelength in turns a token, channel by channel.
std::vector<double> turns_per_token(double theta, size_t channels) {
  std::vector<double> turns(channels);
  for (size_t i = 0; i < channels; ++i) {
    turns[i] = std::pow(theta, -static_cast<double>(i) / static_cast<double>(channels)) / (2 * M_PI);
  }
  return turns;
}

/// The share s of the unscaled frequency: 1 above high_freq_factor turns within the trained length, 0 below
/// low_freq_factor, linear between; the factor is then 1 / ((1 - s) / k + s).
double factor_of(const RopeConfig& rope, double turns) {
  const double within = turns * static_cast<double>(*rope.original_max_position_embeddings);
  if (rope.high_freq_factor == rope.low_freq_factor) return within > rope.low_freq_factor ? 1 : rope.factor;
  const double share =
      std::clamp((within - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor), 0.0, 1.0);
  return 1 / ((1 - share) / rope.factor + share);
}

bool explains(const RopeConfig& rope, std::span<const float> factors, const std::vector<double>& turns) {
  for (size_t i = 0; i < factors.size(); ++i) {
    if (std::abs(factor_of(rope, turns[i]) / factors[i] - 1) > kTolerance) return false;
  }
  return true;
}

/// Settings without a ramp, where a channel either keeps its frequency or takes 1 / k of it (Llama 4 Scout).
std::optional<RopeConfig> without_ramp(RopeConfig rope, std::span<const float> factors,
                                       const std::vector<double>& turns) {
  rope.high_freq_factor = rope.low_freq_factor;
  if (explains(rope, factors, turns)) return rope;
  size_t kept = 0;
  while (kept < factors.size() && factors[kept] <= 1 + kTolerance) ++kept;
  if (kept == 0 || kept == factors.size()) return std::nullopt;
  // Any length between the two channels' waves does; the first whole one is taken.
  rope.original_max_position_embeddings = static_cast<int64_t>(std::min(1 / turns[kept - 1], 1e15)) + 1;
  if (explains(rope, factors, turns)) return rope;
  return std::nullopt;
}

struct Line {
  double slope, offset;
};

/// Least squares of the shares s = slope * turns - offset over channels strictly inside the ramp.
std::optional<Line> fit_ramp(std::span<const float> factors, double factor,
                             const std::vector<double>& turns) {
  double n = 0;
  double x = 0;
  double y = 0;
  double xx = 0;
  double xy = 0;
  for (size_t i = 0; i < factors.size(); ++i) {
    const double share = (1 / static_cast<double>(factors[i]) - 1 / factor) / (1 - 1 / factor);
    if (share < kTolerance || share > 1 - kTolerance) continue;
    n += 1;
    x += turns[i];
    y += share;
    xx += turns[i] * turns[i];
    xy += turns[i] * share;
  }
  const double spread = n * xx - x * x;
  if (n < 2 || spread <= 0) return std::nullopt;
  const double slope = (n * xy - x * y) / spread;
  return Line{slope, (slope * x - y) / n};
}

}  // namespace

RopeConfig rope_config_from_factors(std::span<const float> factors, RopeConfig base,
                                    const std::string& what) {
  const bool sound = std::all_of(factors.begin(), factors.end(), [](float factor) {
    return std::isfinite(factor) && factor >= 1 - kTolerance;
  });
  if (sound &&
      std::all_of(factors.begin(), factors.end(), [](float factor) { return factor <= 1 + kTolerance; })) {
    return base;
  }
  if (sound) {
    const std::vector<double> turns = turns_per_token(base.theta, factors.size());
    RopeConfig rope = base;
    rope.type = RopeType::kLlama3;
    rope.factor = *std::max_element(factors.begin(), factors.end());
    rope.low_freq_factor = 1;
    rope.high_freq_factor = 4;
    rope.original_max_position_embeddings = 8192;  // Meta's own settings first
    if (explains(rope, factors, turns)) return rope;
    if (const auto found = without_ramp(rope, factors, turns)) return *found;
    const auto line = fit_ramp(factors, rope.factor, turns);
    if (line && line->offset > 0 && line->slope > 0 && line->slope / line->offset < 1e12) {
      const double high = 1 + 1 / line->offset;
      rope.original_max_position_embeddings = std::llround(line->slope / line->offset);
      for (const double candidate : {std::round(high * 100) / 100, high}) {
        rope.high_freq_factor = candidate;
        if (candidate > 1 && explains(rope, factors, turns)) return rope;
      }
    }
  }
  throw InputError(
      "{}: tensor \"rope_freqs.weight\": its frequency factors follow no llama3 scaling, so they "
      "cannot be honoured",
      what);
}

}  // namespace ropescope
