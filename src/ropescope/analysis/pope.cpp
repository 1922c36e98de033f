#include "ropescope/analysis/pope.h"

#include <cmath>

#include <fmt/ranges.h>

#include <ATen/ops/cat.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/tensor_operators.h"

namespace ropescope {

namespace {

constexpr double kTurn = 6.283185307179586477;

RopeConfig base_alone(const RopeConfig& rope) {
  RopeConfig config;
  config.theta = rope.theta;
  return config;
}

/// delta [N, D] of every pair.
at::Tensor pope_phases(const PopeBias& bias, const PairSet& pairs, const ModelFacts& model) {
  const int64_t width = pairs.q.size(1), count = pairs.size();
  if (!bias.delta.defined()) return at::zeros({1, width}, at::kDouble);
  at::Tensor delta = bias.delta.to(at::kDouble).clamp(-kTurn, 0.0);
  if (delta.numel() == 1) delta = delta.reshape({});
  const int64_t heads = model.num_heads, layers = model.num_layers;
  const int64_t key_heads = model.num_key_value_heads > 0 ? model.num_key_value_heads : heads;
  const int64_t axes = delta.dim();
  const bool fits = axes == 0 || (axes <= 3 && delta.size(-1) == width &&
                                  (axes < 2 || delta.size(-2) == heads || delta.size(-2) == key_heads) &&
                                  (axes < 3 || delta.size(0) == layers));
  if (!fits) {
    throw UsageError(
        "--pope-bias: expected a number, or a tensor of {} channels, [{} heads, channels] or [{} layers, heads, "
        "channels], found [{}]",
        width, key_heads == heads ? std::to_string(heads) : fmt::format("{} or {}", heads, key_heads), layers,
        fmt::join(delta.sizes(), ", "));
  }
  if (axes < 2) return delta.expand({1, width});
  const at::Tensor head = pairs.head.floor_divide(heads / delta.size(-2));
  const at::Tensor row = axes == 2 ? head : pairs.layer * delta.size(1) + head;
  return delta.reshape({-1, width}).index_select(0, row).view({count, width});
}

}  // namespace

Samples pope_samples(const Samples& samples, const PopeBias& bias) {
  if (samples.pairs.size() == 0) {
    throw UsageError(
        "--encoding pope: expected pairs (softplus of a mean is not the mean of softplus), found none; sample with "
        "--pairs-per-layer");
  }
  Samples polar;
  polar.model = samples.model;
  if (samples.model.rope) polar.model.rope = base_alone(*samples.model.rope);
  polar.model.head_dim = 2 * samples.pairs.q.size(1);
  for (LayerFacts& layer : polar.model.layers) {
    layer.rope = base_alone(layer.rope);
    layer.head_dim *= 2;
    layer.first_rotary = 0;
    layer.pairing = PairLayout::kHalfSplit;
  }
  polar.pairs = samples.pairs;
  const at::Tensor q = at::softplus(samples.pairs.q.to(at::kDouble));
  const at::Tensor k = at::softplus(samples.pairs.k.to(at::kDouble));
  const at::Tensor delta = pope_phases(bias, samples.pairs, samples.model);
  polar.pairs.q = at::cat({q, at::zeros_like(q)}, 1);
  polar.pairs.k = at::cat({k * delta.cos(), k * delta.sin()}, 1);
  return polar;
}

}  // namespace ropescope
