#include "ropescope/models/blocks/latent_attention.h"

#include <ATen/ops/cat.h>

#include "ropescope/models/kernels/linear.h"
#include "ropescope/models/kernels/rms_norm.h"

namespace ropescope {

namespace {

constexpr double kLatentEps = 1e-6;

// [B, T, heads * D] to [B, heads, T, D]
at::Tensor heads_first(const at::Tensor& x, int64_t heads) {
  return x.view({x.size(0), x.size(1), heads, -1}).transpose(1, 2);
}

}  // namespace

LatentQkv latent_qkv(const at::Tensor& x, const LatentWeights& weights, const LatentShape& shape,
                     int64_t heads, int64_t value_dim) {
  at::Tensor q;
  if (shape.q_rank == 0) {
    q = kernels::linear(x, weights.q, {});
  } else {
    const at::Tensor latent = kernels::linear(x, weights.q_a, weights.q_a_bias);
    q = kernels::linear(kernels::rms_norm(latent, weights.q_a_norm, kLatentEps), weights.q_b, {});
  }
  const at::Tensor down = kernels::linear(x, weights.kv_a, weights.kv_a_bias);
  const at::Tensor latent = down.narrow(-1, 0, shape.kv_rank).contiguous();
  const at::Tensor shared = down.narrow(-1, shape.kv_rank, shape.rope_dim).unsqueeze(1);
  const at::Tensor up = heads_first(
      kernels::linear(kernels::rms_norm(latent, weights.kv_a_norm, kLatentEps), weights.kv_b, {}), heads);
  const at::Tensor k_nope = up.narrow(-1, 0, shape.nope_dim);
  return {heads_first(q, heads), at::cat({k_nope, shared.expand({-1, heads, -1, -1})}, -1),
          up.narrow(-1, shape.nope_dim, value_dim)};
}

at::Tensor rotate_latent(const at::Tensor& x, const RotaryTable& table, int64_t nope) {
  if (!table.turns()) return x;
  at::Tensor turned = x.narrow(-1, nope, x.size(-1) - nope);
  if (table.layout == PairLayout::kAdjacent) {
    // Scores are sums over pairs, so q and k may be put in any order together; this is the one that others see.
    turned = turned.unflatten(-1, {-1, 2}).transpose(-1, -2).flatten(-2);
  }
  RotaryTable halves = table;
  halves.layout = PairLayout::kHalfSplit;
  return at::cat({x.narrow(-1, 0, nope), apply_rotary(turned, halves)}, -1);
}

at::Tensor join_latent_up(const at::Tensor& k_b, const at::Tensor& v_b) {
  return at::cat({k_b.transpose(1, 2), v_b}, 1).flatten(0, 1);
}

}  // namespace ropescope
