#include "ropescope/models/blocks/experts.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

#include <ATen/ops/bincount.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"
#include "ropescope/models/kernels/linear.h"

namespace ropescope {

namespace {

at::ScalarType wide_type(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

at::Tensor share(const at::Tensor& weights) { return weights.div(weights.sum(-1, /*keepdim=*/true)); }

// The experts that may be chosen: those of the groups whose two best add up to most. The others are -inf, so that none
// of them is chosen even where all that may be are below zero.
at::Tensor within_best_groups(const at::Tensor& scores, const ExpertShape& shape) {
  if (shape.groups <= 1) return scores;
  const at::Tensor grouped = scores.unflatten(-1, {shape.groups, -1});
  const int64_t counted = std::min<int64_t>(2, grouped.size(-1));
  const at::Tensor strength = std::get<0>(grouped.topk(counted, -1)).sum(-1);
  const at::Tensor best = std::get<1>(strength.topk(shape.chosen_groups, -1));
  const at::Tensor dropped =
      at::ones(strength.sizes(), strength.options().dtype(at::kBool)).scatter(-1, best, 0);
  return grouped.masked_fill(dropped.unsqueeze(-1), -std::numeric_limits<double>::infinity()).flatten(-2);
}

Routing route_softmax(const at::Tensor& logits, const ExpertShape& shape) {
  const auto [weight, index] = logits.softmax(-1).topk(shape.chosen, -1);
  return {index, shape.renormalise ? share(weight) : weight};
}

Routing route_sigmoid_groups(const at::Tensor& logits, const RouterWeights& weights,
                             const ExpertShape& shape) {
  const at::Tensor scores = at::sigmoid(logits);
  const at::Tensor ranked =
      weights.correction.defined() ? scores.add(weights.correction.to(scores.scalar_type())) : scores;
  const at::Tensor index = std::get<1>(within_best_groups(ranked.detach(), shape).topk(shape.chosen, -1));
  const at::Tensor weight = scores.gather(-1, index);
  // All sigmoids may underflow to zero together.
  return {index, shape.renormalise ? weight.div(weight.sum(-1, /*keepdim=*/true).add(1e-20)) : weight};
}

Routing route_scaled_softmax(const at::Tensor& x, const RouterWeights& weights, const ExpertShape& shape,
                             double eps) {
  const at::Tensor wide = x.to(wide_type(x));
  const at::Tensor normed =
      wide.mul(wide.square().mean(-1, /*keepdim=*/true).add(eps).rsqrt()).to(x.scalar_type());
  const double shrink = 1 / std::sqrt(static_cast<double>(x.size(-1)));
  const at::Tensor logits = kernels::linear(normed.mul(weights.scale).mul(shrink), weights.weight, {});
  const auto [weight, index] = logits.to(wide_type(x)).softmax(-1).topk(shape.chosen, -1);
  const at::Tensor shares = shape.renormalise ? share(weight) : weight;
  if (!weights.expert_scale.defined()) return {index, shares};
  return {index,
          shares.mul(
              weights.expert_scale.to(shares.scalar_type()).index_select(0, index.flatten()).view_as(index))};
}

Routing route_unscaled(const at::Tensor& x, const RouterWeights& weights, const ExpertShape& shape,
                       double eps) {
  const at::ScalarType wide = wide_type(x);
  switch (shape.router) {
    case Router::kScaledSoftmax:
      return route_scaled_softmax(x, weights, shape, eps);
    case Router::kSigmoidGroups:
      // Choices between many experts are close: this router's product is float32 whatever the model is.
      return route_sigmoid_groups(kernels::linear(x.to(wide), weights.weight.to(wide), {}), weights, shape);
    default:
      break;
  }
  const at::Tensor logits = kernels::linear(x, weights.weight, weights.bias).to(wide);
  if (shape.router == Router::kSoftmax) return route_softmax(logits, shape);
  const auto [best, index] = logits.topk(shape.chosen, -1);
  return {index, shape.router == Router::kSoftmaxOfChosen ? best.softmax(-1) : at::sigmoid(best)};
}

// gpt-oss: up is read as one more than it is, and both are bounded.
at::Tensor clamped_gate(const at::Tensor& gate, const at::Tensor& up, double limit) {
  constexpr double kSharpness = 1.702;
  const at::Tensor bounded = gate.clamp_max(limit);
  return up.clamp(-limit, limit).add(1).mul(bounded).mul(at::sigmoid(bounded.mul(kSharpness)));
}

at::Tensor run_expert(const at::Tensor& x, const Expert& expert, const ExpertShape& shape,
                      GateActivation activation) {
  at::Tensor inner;
  if (shape.clamp == 0 && activation == GateActivation::kSilu) {
    inner = kernels::gated_linear(x, expert.gate, expert.gate_bias, expert.up, expert.up_bias);
  } else {
    const at::Tensor gate = kernels::linear(x, expert.gate, expert.gate_bias);
    const at::Tensor up = kernels::linear(x, expert.up, expert.up_bias);
    inner = shape.clamp > 0 ? clamped_gate(gate, up, shape.clamp) : at::gelu(gate, "tanh").mul(up);
  }
  return kernels::linear(inner, expert.down, expert.down_bias);
}

}  // namespace

Routing route(const at::Tensor& x, const RouterWeights& weights, const ExpertShape& shape, double eps) {
  Routing routing = route_unscaled(x, weights, shape, eps);
  if (shape.weight_scale != 1) routing.weight = routing.weight.mul(shape.weight_scale);
  return routing;
}

at::Tensor mix_experts(const at::Tensor& x, const Routing& routing, const ExpertShape& shape,
                       GateActivation activation, const ExpertSource& source) {
  if (x.dim() != 2 || routing.index.dim() != 2 || routing.index.size(0) != x.size(0)) {
    throw InternalError("mix_experts: expected rows [tokens, channels] and as many choices");
  }
  // Choices [N * k] in the order of their experts, tokens in their own order for each.
  const at::Tensor chosen = routing.index.flatten();
  const at::Tensor order = std::get<1>(at::sort(chosen, /*stable=*/true, /*dim=*/0, /*descending=*/false));
  const at::Tensor counts = at::bincount(chosen, {}, shape.count).cpu();
  const at::Tensor weights = routing.weight.flatten();
  const bool on_input = shape.router == Router::kSigmoidOnInput;

  at::Tensor sum = at::zeros(x.sizes(), x.options().dtype(wide_type(x)));
  const auto* count = counts.const_data_ptr<int64_t>();
  for (int64_t e = 0, first = 0; e < shape.count; first += count[e++]) {
    if (count[e] == 0) continue;
    const at::Tensor picked = order.narrow(0, first, count[e]);
    const at::Tensor tokens = picked.floor_divide(routing.index.size(1));
    const at::Tensor weight = weights.index_select(0, picked).unsqueeze(-1);
    at::Tensor rows = x.index_select(0, tokens);
    if (on_input) rows = rows.mul(weight.to(x.scalar_type()));
    const at::Tensor out = run_expert(rows, source.take(e), shape, activation).to(sum.scalar_type());
    // A token is there once, so the sum of its experts is in their order on any device.
    sum.index_add_(0, tokens, on_input ? out : out.mul(weight));
  }
  return sum.to(x.scalar_type());
}

}  // namespace ropescope
