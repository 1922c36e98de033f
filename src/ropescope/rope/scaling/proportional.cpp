// f over the whole head_dim, 0 beyond the share partial_rotary_factor; divided by k (Gemma 4).
#include <cmath>

#include "ropescope/core/errors.h"
#include "ropescope/rope/scaling/scaling.h"

namespace ropescope {

namespace {

ScaledFrequencies proportional_frequencies(const ScalingInput& input) {
  const int64_t dim = input.head_dim;
  if (dim % 2 != 0) throw InputError("rope: expected an even head dimension, found {}", dim);
  const auto rotated =
      static_cast<int64_t>(input.config.partial_rotary_factor * static_cast<double>(dim)) / 2;
  ScaledFrequencies result;
  for (int64_t i = 0; i < rotated; ++i) {
    const double f =
        1.0 / std::pow(input.config.theta, static_cast<double>(2 * i) / static_cast<double>(dim));
    result.values.push_back(f / input.config.factor);
  }
  result.values.resize(static_cast<size_t>(dim / 2), 0.0);
  return result;
}

}  // namespace

extern const ContextScaling kProportionalScaling = {RopeType::kProportional,  "proportional", {"factor"},
                                                    proportional_frequencies, nullptr,        nullptr,
                                                    /*needs_factor=*/false};

}  // namespace ropescope
