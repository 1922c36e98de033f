#include "ropescope/models/blocks/delta_rule.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/conv1d.h>
#include <ATen/ops/linalg_solve_triangular.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/zeros.h>

#include "ropescope/models/kernels/linear.h"
#include "ropescope/models/kernels/rms_norm.h"

namespace ropescope {

namespace {

constexpr int64_t kChunk = 64;

at::Tensor zero_state(const at::Tensor& k, const at::Tensor& v) {
  return at::zeros({k.size(0), k.size(1), k.size(3), v.size(3)}, v.options());
}

// One token, as the formula says it.
DeltaScan scan_one(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& log_decay,
                   const at::Tensor& beta, const at::Tensor& state) {
  const at::Tensor decayed = state.mul(log_decay.exp().unsqueeze(-1));
  const at::Tensor correction = v.sub(at::matmul(k, decayed)).mul(beta.unsqueeze(-1));
  const at::Tensor next = decayed.add(at::matmul(k.transpose(-1, -2), correction));
  return {at::matmul(q, next), next};
}

// x [B, H, T, ...] as [B, H, T / size, size, ...]; zeros behind the last token change nothing (no decay, beta 0).
at::Tensor in_chunks(const at::Tensor& x, int64_t size, int64_t missing) {
  std::vector<int64_t> padding(static_cast<size_t>(2 * (x.dim() - 2)), 0);
  padding.back() = missing;
  return (missing > 0 ? at::constant_pad_nd(x, padding, 0) : x).unflatten(2, {-1, size});
}

// With c the sum of log decays since the start of the chunk, the state before is S, and token t adds k_t u_t^T, where
//   u_t = b_t (v_t - e^{c_t} S^T k_t - sum over s < t of e^{c_t - c_s} (k_s k_t) u_s):
// a unit triangular system for all u at once. Solved for v and for e^c k apart, only a product with S is left to the
// loop over chunks.
DeltaScan scan_chunks(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                      const at::Tensor& log_decay, const at::Tensor& beta, at::Tensor state) {
  const int64_t tokens = q.size(2), size = std::min(kChunk, tokens), chunks = (tokens + size - 1) / size;
  const auto chunked = [&](const at::Tensor& x) { return in_chunks(x, size, chunks * size - tokens); };
  const at::Tensor queries = chunked(q), keys = chunked(k), values = chunked(v);
  const at::Tensor weight = chunked(beta).unsqueeze(-1), sum = chunked(log_decay).cumsum(-1);

  const at::Tensor all = at::ones({size, size}, q.options().dtype(at::kBool));
  // The upper half is masked before the exponential: there it may be beyond any number.
  const at::Tensor decay = sum.unsqueeze(-1)
                               .sub(sum.unsqueeze(-2))
                               .masked_fill(all.triu(1), -std::numeric_limits<double>::infinity())
                               .exp();
  const at::Tensor keys_across = keys.transpose(-1, -2);
  const at::Tensor system = at::matmul(keys.mul(weight), keys_across).mul(decay).tril(-1);
  const at::Tensor scale = sum.exp().unsqueeze(-1);
  const at::Tensor sides = at::cat({values.mul(weight), keys.mul(weight.mul(scale))}, -1);
  // The diagonal is taken for ones.
  const at::Tensor solved =
      at::linalg_solve_triangular(system, sides, /*upper=*/false, /*left=*/true, /*unitriangular=*/true);
  const at::Tensor from_values = solved.narrow(-1, 0, v.size(3)),
                   from_keys = solved.narrow(-1, v.size(3), k.size(3));

  const at::Tensor scores = at::matmul(queries, keys_across).mul(decay);
  const at::Tensor reading = queries.mul(scale);
  const at::Tensor last = sum.narrow(-1, size - 1, 1).unsqueeze(-1);
  const at::Tensor writing = keys.mul(last.sub(sum.unsqueeze(-1)).exp()).transpose(-1, -2);
  const at::Tensor kept = last.exp();
  std::vector<at::Tensor> outputs;
  for (int64_t i = 0; i < chunks; ++i) {
    const auto of = [i](const at::Tensor& x) { return x.select(2, i); };
    const at::Tensor updates = of(from_values).sub(at::matmul(of(from_keys), state));
    outputs.push_back(at::matmul(of(reading), state).add(at::matmul(of(scores), updates)));
    state = state.mul(of(kept)).add(at::matmul(of(writing), updates));
  }
  return {at::cat(outputs, 2).narrow(2, 0, tokens), state};
}

at::Tensor unit(const at::Tensor& x) { return x.mul(x.square().sum(-1, /*keepdim=*/true).add(1e-6).rsqrt()); }

// [B, heads * D, T] to [B, groups * heads, T, D], in the type that the state has; each head `groups` times in a row.
at::Tensor heads_of(const at::Tensor& channels, int64_t heads, int64_t groups, at::ScalarType type) {
  const at::Tensor x = channels.unflatten(1, {heads, -1}).transpose(-1, -2).to(type);
  return groups == 1 ? x.contiguous() : x.repeat_interleave(groups, 1);
}

// [B, T, H] to [B, H, T]
at::Tensor gate_of(const at::Tensor& x, const at::Tensor& weight, at::ScalarType type) {
  return kernels::linear(x, weight, {}).transpose(1, 2).to(type);
}

}  // namespace

DeltaScan scan_delta_rule(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const at::Tensor& log_decay, const at::Tensor& beta, const at::Tensor& state) {
  const at::Tensor start = state.defined() ? state : zero_state(k, v);
  return q.size(2) == 1 ? scan_one(q, k, v, log_decay, beta, start)
                        : scan_chunks(q, k, v, log_decay, beta, start);
}

DeltaOutput delta_rule(const at::Tensor& x, const DeltaWeights& weights, const DeltaShape& shape, double eps,
                       const DeltaState& past) {
  const int64_t batch = x.size(0), tokens = x.size(1), groups = shape.value_heads / shape.key_heads;
  const int64_t keys = shape.key_heads * shape.key_dim, values = shape.value_heads * shape.value_dim;
  const at::ScalarType type = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;

  const at::Tensor mixed = kernels::linear(x, weights.input, {}).transpose(1, 2);
  const at::Tensor before =
      past.conv.defined() ? past.conv : at::zeros({batch, mixed.size(1), shape.kernel - 1}, mixed.options());
  const at::Tensor inputs = at::cat({before, mixed}, -1);
  const at::Tensor channels =
      at::silu(at::conv1d(inputs, weights.kernel, {}, 1, at::IntArrayRef(int64_t{0}), 1, mixed.size(1)));
  const at::Tensor q = unit(heads_of(channels.narrow(1, 0, keys), shape.key_heads, groups, type));
  const at::Tensor k = unit(heads_of(channels.narrow(1, keys, keys), shape.key_heads, groups, type));
  const at::Tensor v = heads_of(channels.narrow(1, 2 * keys, values), shape.value_heads, 1, type);

  const at::Tensor step_size = gate_of(x, weights.step, type).add(weights.bias.to(type).unsqueeze(-1));
  const at::Tensor log_decay = at::softplus(step_size).mul(weights.decay.to(type).exp().neg().unsqueeze(-1));
  const at::Tensor beta = at::sigmoid(gate_of(x, weights.beta, type));
  const double scale = 1 / std::sqrt(static_cast<double>(shape.key_dim));
  const DeltaScan scan = scan_delta_rule(q.mul(scale), k, v, log_decay, beta, past.recurrent);

  const at::Tensor rows = scan.out.transpose(1, 2).to(x.scalar_type()).contiguous();
  const at::Tensor gate = at::silu(kernels::linear(x, weights.gate, {}).to(type)).view(rows.sizes());
  const at::Tensor gated = kernels::rms_norm(rows, weights.norm, eps).mul(gate).to(x.scalar_type());
  // A copy, so that a state of few numbers does not keep the whole pass's inputs.
  const at::Tensor conv = inputs.narrow(-1, tokens, shape.kernel - 1).clone();
  return {kernels::linear(gated.view({batch, tokens, values}), weights.out, {}), {conv, scan.state}};
}

}  // namespace ropescope
