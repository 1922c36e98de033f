// One rectangle of an attention matrix through LibTorch's fused kernels, with what is needed to put several
// rectangles of the same rows together.
//
// Two parts a, b of one softmax row, over different keys, merge as
//   lse = log(exp(lse_a) + exp(lse_b)),  out = out_a + sigmoid(lse_b - lse_a) (out_b - out_a).
// Backwards a part needs the output and the logarithm of the WHOLE row: its weights are exp(score - lse), and
// the softmax takes sum(grad_out * out) off every score's gradient. So the fused backward pass, given these,
// returns the exact share of its rectangle (FlashAttention, arXiv 2205.14135, Appendix B.4).
#pragma once

#include <ATen/core/Tensor.h>

namespace ropescope::kernels {

struct FlashBlock {
  at::Tensor out;  ///< [B, H, n, D], q's type
  at::Tensor lse;  ///< [B, H, n], log of the sum of exp(score), natural; float32 (float64 for float64)
};

struct FlashBlockGradients {
  at::Tensor q, k, v;
};

/// What a bias holds where a key is hidden. Finite, because fused kernels leave a row of infinities
/// undefined; yet so low that the row's logarithm gives it no weight when it is merged.
double hidden_score(at::ScalarType dtype);

/// softmax(q k^T / sqrt(D) + bias) v. q: [B, H, n, D], k and v: [B, K, m, D], n, m > 0, H a multiple of K
/// (query head h reads head floor(h / (H / K))). bias: undefined, or [n, m] of q's type. `is_causal` needs
/// n == m. No autograd.
FlashBlock flash_block(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& bias,
                       bool is_causal);

/// Gradients of this rectangle, in q's type; `out` and `lse` are those of the merged rows.
FlashBlockGradients flash_block_backward(const at::Tensor& grad_out, const at::Tensor& q, const at::Tensor& k,
                                         const at::Tensor& v, const at::Tensor& out, const at::Tensor& lse,
                                         const at::Tensor& bias, bool is_causal);

}  // namespace ropescope::kernels
