// Products with weight matrices where gradients are wanted, float32 on a CPU: one node of the graph for what
// autograd would make several of, gradients of a shared input added up inside the products, and those of
// weights in place where that is allowed (in_place_gradients.h).
#pragma once

#include <array>

#include <ATen/core/Tensor.h>

namespace ropescope::kernels {

/// Whether the functions below serve this product: with autograd, float32, on a CPU.
bool trains_on_cpu(const at::Tensor& x, const at::Tensor& weight);

/// residual + (x W^T + b); `residual` and `bias` may be undefined. x [..., in].
at::Tensor trained_linear(const at::Tensor& residual, const at::Tensor& x, const at::Tensor& weight,
                          const at::Tensor& bias);

/// Three products of one x; biases may be undefined.
std::array<at::Tensor, 3> trained_linears(const at::Tensor& x, const std::array<at::Tensor, 3>& weights,
                                          const std::array<at::Tensor, 3>& biases);

/// silu(x G^T + g) * (x U^T + u); biases may be undefined.
at::Tensor trained_gated_linear(const at::Tensor& x, const at::Tensor& gate, const at::Tensor& gate_bias,
                                const at::Tensor& up, const at::Tensor& up_bias);

}  // namespace ropescope::kernels
