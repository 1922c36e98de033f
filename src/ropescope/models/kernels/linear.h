// Products with weight matrices [out, in] and what follows them at once.
// Without autograd, float32 on a CPU goes through oneDNN where an epilogue can follow: it applies the
// activation, the product or the sum while a tile is still in cache (and uses AVX-512 where MKL does not).
// All else is ATen.
#pragma once

#include <ATen/core/Tensor.h>

namespace ropescope::kernels {

/// x W^T + b; `bias` may be undefined. x: [..., in].
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

/// residual + (x W^T + b), shapes [..., out].
at::Tensor linear_plus(const at::Tensor& residual, const at::Tensor& x, const at::Tensor& weight,
                       const at::Tensor& bias);

/// silu(x G^T + g) * (x U^T + u), [..., out].
at::Tensor gated_linear(const at::Tensor& x, const at::Tensor& gate, const at::Tensor& gate_bias,
                        const at::Tensor& up, const at::Tensor& up_bias);

}  // namespace ropescope::kernels
