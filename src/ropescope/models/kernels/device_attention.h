// The two fused attention operators of CUDA devices behind flash_block.h. Elsewhere the same contracts, checked and
// written out in ATen's operators: what tests of the device's half run on (core/device_branch.h).
// Shapes  B batch, H query heads, K key/value heads, T queries, S keys, D head_dim
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "ropescope/models/kernels/flash_block.h"

namespace ropescope::kernels {

inline constexpr int64_t kBiasAlignment = 16;  ///< numbers: rows of a bias are a multiple of it apart
inline constexpr int64_t kLseBlock = 32;       ///< queries whose logarithms lie together

/// float16 and bfloat16; q [B, H, T, D], k and v [B, K, S, D], D a multiple of 8. Returns out [B, H, T, D] and
/// lse float32 [B, H, T].
FlashBlock flash_operator(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, bool is_causal);
FlashBlockGradients flash_operator_backward(const at::Tensor& grad_out, const at::Tensor& q,
                                            const at::Tensor& k, const at::Tensor& v, const at::Tensor& out,
                                            const at::Tensor& lse, bool is_causal);

/// All types; one key/value head a query head (K = H). `bias` [B, H, T, S] or undefined, its rows a multiple of 16
/// numbers apart. lse float32 [B, H, T rounded up to 32].
FlashBlock efficient_operator(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const at::Tensor& bias, bool is_causal);
FlashBlockGradients efficient_operator_backward(const at::Tensor& grad_out, const at::Tensor& q,
                                                const at::Tensor& k, const at::Tensor& v,
                                                const at::Tensor& bias, const at::Tensor& out,
                                                const at::Tensor& lse, bool is_causal);

}  // namespace ropescope::kernels
