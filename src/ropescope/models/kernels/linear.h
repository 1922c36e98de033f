// Products with weight matrices [out, in] and what follows them at once.
// Without autograd, float32 on a CPU goes through oneDNN where an epilogue can follow: it applies the
// activation, the product or the sum while a tile is still in cache (and uses AVX-512 where MKL does not).
// With autograd, float32 on a CPU is trained_linear.h. All else is ATen.
#pragma once

#include <array>

#include <ATen/core/Tensor.h>

namespace ropescope::kernels {

/// x W^T + b; `bias` may be undefined. x: [..., in].
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

/// Three products of one x; biases may be undefined.
std::array<at::Tensor, 3> linears(const at::Tensor& x, const std::array<at::Tensor, 3>& weights,
                                  const std::array<at::Tensor, 3>& biases);

/// residual + (x W^T + b), shapes [..., out].
at::Tensor linear_plus(const at::Tensor& residual, const at::Tensor& x, const at::Tensor& weight,
                       const at::Tensor& bias);

/// silu(x G^T + g) * (x U^T + u), [..., out].
at::Tensor gated_linear(const at::Tensor& x, const at::Tensor& gate, const at::Tensor& gate_bias,
                        const at::Tensor& up, const at::Tensor& up_bias);

}  // namespace ropescope::kernels
