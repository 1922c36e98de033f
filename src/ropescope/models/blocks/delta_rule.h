// Gated delta rule (arXiv 2412.06464), the layer without positions of Qwen3.5: each head keeps a matrix S [D, V]
// that a token's key reads, corrects and decays.
//   [q | k | v] = silu(conv(W x)),  q = unit(q) / sqrt(D),  k = unit(k)
//   g = -exp(decay) softplus(a + bias),  b = sigmoid(beta)
//   S <- e^g S;  S <- S + k (b (v - S^T k))^T;  o = S^T q
//   y = O (n(o) silu(z))
// Shapes  B batch, T tokens, C hidden size, K key heads, H value heads (key head j serves the H/K value heads from
//         j H/K on), D key_dim, V value_dim, M = 2 K D + H V channels of the convolution
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "ropescope/architectures/decoder_config.h"

namespace ropescope {

struct DeltaWeights {
  at::Tensor input;   ///< in_proj_qkv [M, C]
  at::Tensor gate;    ///< in_proj_z [H*V, C]
  at::Tensor step;    ///< in_proj_a [H, C]
  at::Tensor beta;    ///< in_proj_b [H, C]
  at::Tensor kernel;  ///< conv1d [M, 1, kernel]
  at::Tensor decay;   ///< A_log [H]
  at::Tensor bias;    ///< dt_bias [H]
  at::Tensor norm;    ///< [V]; multiplies as it is, also where the model's other norms add one
  at::Tensor out;     ///< out_proj [C, H*V]
};

/// What the tokens before leave; undefined: there were none.
struct DeltaState {
  at::Tensor conv;       ///< [B, M, kernel - 1], the last inputs of the convolution
  at::Tensor recurrent;  ///< [B, H, D, V]; float32 (float64 if x is)
};

struct DeltaOutput {
  at::Tensor out;    ///< [B, T, C]
  DeltaState state;  ///< after the last token; `past` is left as it was
};

/// From normed x [B, T, C]. Differentiable; every token of x counts (no padding). `eps` is the norm's.
DeltaOutput delta_rule(const at::Tensor& x, const DeltaWeights& weights, const DeltaShape& shape, double eps,
                       const DeltaState& past = {});

/// Outputs [B, H, T, V] and the last state [B, H, D, V] of the recurrence alone.
struct DeltaScan {
  at::Tensor out, state;
};

/// q, k [B, H, T, D] (unit length, q scaled), v [B, H, T, V], log_decay and beta [B, H, T], state [B, H, D, V] or
/// undefined; all of one type, float32 or float64. Tokens are taken 64 at a time: inside a chunk the corrections solve
/// one triangular system (the WY form), between chunks the state goes on.
DeltaScan scan_delta_rule(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const at::Tensor& log_decay, const at::Tensor& beta, const at::Tensor& state);

}  // namespace ropescope
