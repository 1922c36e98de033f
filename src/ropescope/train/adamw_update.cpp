#include "ropescope/train/adamw_update.h"

#include <cmath>

#include "ropescope/core/vector_units.h"

namespace ropescope {

ROPESCOPE_VECTOR_UNITS void update(const AdamWUpdate& by, float* __restrict weights,
                                   const float* __restrict gradients, float* __restrict means,
                                   float* __restrict squares, int64_t count) {
  const AdamWUpdate u = by;
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float g = gradients[i] * u.gradient_factor;
    const float m = means[i] + u.rest1 * (g - means[i]);
    const float v = u.beta2 * squares[i] + u.rest2 * g * g;
    means[i] = m;
    squares[i] = v;
    weights[i] = u.kept * weights[i] - u.rate * m / (std::sqrt(v) * u.root + u.epsilon);
  }
}

}  // namespace ropescope
