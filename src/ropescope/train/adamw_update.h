// The update of AdamW (optimizer.h) for float32 on a CPU: one pass over weights, gradients and averages, with
// the factor of gradient clipping inside.
#pragma once

#include <cstdint>

namespace ropescope {

struct AdamWUpdate {
  float beta2 = 0, rest1 = 0, rest2 = 0;  ///< beta2, 1 - beta1 and 1 - beta2, each rounded once
  float epsilon = 0;
  float gradient_factor = 1;  ///< of clipping
  float kept = 1;             ///< 1 - rate * decay
  float rate = 0;             ///< learning rate / (1 - beta1^t)
  float root = 1;             ///< 1 / sqrt(1 - beta2^t)
};

void update(const AdamWUpdate& by, float* weights, const float* gradients, float* means, float* squares,
            int64_t count);

}  // namespace ropescope
