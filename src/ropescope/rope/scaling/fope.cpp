// FoPE, arXiv 2412.17739, without its coefficients: frequencies that make no full turn within the trained length, all but
// those strictly above 2 pi / M, become 0; or all but the first `kept`. A channel at 0 does not turn. (fope.h: coefficients.)
#include <algorithm>
#include <cmath>

#include "ropescope/rope/scaling/scaling.h"

namespace ropescope {

namespace {

ScaledFrequencies fope_frequencies(const ScalingInput& input) {
  ScaledFrequencies result{input.plain()};
  std::vector<double>& values = result.values;
  if (input.config.kept) {
    const size_t kept = std::min(static_cast<size_t>(*input.config.kept), values.size());
    std::fill(values.begin() + static_cast<std::ptrdiff_t>(kept), values.end(), 0.0);
    return result;
  }
  const double slowest = 2 * M_PI / input.trained_length();
  for (double& f : values) f = f > slowest ? f : 0.0;
  return result;
}

void read_fope(const Json& json, const ScalingReader& reader, RopeConfig& rope) {
  rope.kept = count_setting(json, "kept", 0, reader.what);
}

void write_fope(const RopeConfig& rope, const PartWriter&, Json& json) {
  if (rope.kept) json["kept"] = *rope.kept;
}

}  // namespace

extern const ContextScaling kFopeScaling = {
    RopeType::kFope,  "fope",    {"original_max_position_embeddings", "kept"},
    fope_frequencies, read_fope, write_fope};

}  // namespace ropescope
