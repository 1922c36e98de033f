// The arithmetic of apply_rotary, without autograd.
#pragma once

#include <ATen/core/Tensor.h>

#include "ropescope/rope/rotation.h"

namespace ropescope::kernels {

/// x [batch, heads, tokens, head_dim] turned by the table's angles, or back (`inverse`: by the negative
/// angle, same scale). Shapes are the caller's to check. CPU: one fused pass over float64, float32, bfloat16,
/// float16. Elsewhere: ATen operations.
at::Tensor rotate(const at::Tensor& x, const RotaryTable& table, bool inverse);

}  // namespace ropescope::kernels
