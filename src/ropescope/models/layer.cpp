#include "ropescope/models/layer.h"

#include <algorithm>
#include <cmath>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/floor.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/log1p.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/square.h>

#include "ropescope/core/errors.h"
#include "ropescope/models/blocks/delta_rule.h"
#include "ropescope/models/blocks/experts.h"
#include "ropescope/models/blocks/latent_attention.h"
#include "ropescope/models/kernels/linear.h"
#include "ropescope/models/kernels/rms_norm.h"

namespace ropescope {

namespace {

using kernels::gated_linear;
using kernels::linear;
using kernels::linear_plus;
using kernels::linears;
using kernels::rms_norm;

bool is_read_by_others(const DecoderConfig& config, int64_t layer) {
  return std::any_of(config.layers.begin(), config.layers.end(),
                     [layer](const LayerShape& other) { return other.keys_of == layer; });
}

// x / rms(x), without a weight.
at::Tensor unit_rms(const at::Tensor& x, double eps) {
  const at::Tensor wide = x.scalar_type() == at::kDouble ? x : x.to(at::kFloat);
  return wide.mul(at::rsqrt(at::mean(at::square(wide), -1, /*keepdim=*/true).add(eps))).to(x.scalar_type());
}

// Queries, keys and values before rotation; v undefined when the pass needs none, k when another layer's are read.
struct Qkv {
  at::Tensor q, k, v, gate;
};

Qkv latent(const LayerShape& shape, const DecoderLayerWeights& weights, const at::Tensor& x) {
  LatentWeights latents;
  latents.q = shape.latent->q_rank == 0 ? weights.q : at::Tensor();
  latents.q_b = shape.latent->q_rank == 0 ? at::Tensor() : weights.q;
  latents.q_a = weights.q_a;
  latents.q_a_norm = weights.q_a_norm;
  latents.kv_a = weights.kv_a;
  latents.kv_a_norm = weights.kv_a_norm;
  latents.kv_b = weights.kv_b;
  const LatentQkv made = latent_qkv(x, latents, *shape.latent, shape.heads, shape.value_dim);
  return {made.q, made.k, made.v, {}};
}

at::Tensor normed_heads(const DecoderPass& pass, QkNorm kind, const at::Tensor& x_BTC, int64_t heads,
                        const at::Tensor& weight) {
  if (kind == QkNorm::kAllHeads) return split_heads(decoder_norm(pass.config, x_BTC, weight), heads);
  if (kind == QkNorm::kPerHead) {
    const at::Tensor apart = x_BTC.unflatten(-1, {heads, x_BTC.size(-1) / heads}).contiguous();
    return decoder_norm(pass.config, apart, weight).transpose(1, 2);
  }
  return split_heads(x_BTC, heads);
}

Qkv softmax_qkv(const DecoderPass& pass, const LayerShape& shape, const DecoderLayerWeights& weights,
                bool needs_v, const at::Tensor& x) {
  Qkv result;
  at::Tensor q, k, v;
  const bool own_keys = shape.keys_of < 0, own_v = own_keys && needs_v && !shape.value_from_key;
  if (own_v) {
    const auto qkv =
        linears(x, {weights.q, weights.k, weights.v}, {weights.q_bias, weights.k_bias, weights.v_bias});
    q = qkv[0], k = qkv[1], v = qkv[2];
  } else {
    q = linear(x, weights.q, weights.q_bias);
    if (own_keys) k = linear(x, weights.k, weights.k_bias);
    if (own_keys && needs_v) v = k;
  }
  if (shape.output_gate) {  // [q | gate] per head
    const at::Tensor both = q.unflatten(-1, {shape.heads, 2 * shape.head_dim});
    q = both.narrow(-1, 0, shape.head_dim).flatten(-2);
    result.gate = both.narrow(-1, shape.head_dim, shape.head_dim).flatten(-2);
  }
  result.q = normed_heads(pass, shape.qk_norm, q, shape.heads, weights.q_norm);
  if (own_keys) result.k = normed_heads(pass, shape.qk_norm, k, shape.kv_heads, weights.k_norm);
  if (v.defined()) {
    result.v = split_heads(v, shape.kv_heads);
    if (shape.value_norm) result.v = unit_rms(result.v, pass.config.rms_norm_eps);
  }
  return result;
}

// [B or 1, 1, T, 1]
at::Tensor temperature_of(const DecoderPass& pass, const QueryTemperature& temperature,
                          const at::Tensor& like) {
  if (!pass.encoding.positions.defined()) {
    throw InternalError(
        "forward: this decoder scales queries by their position, and the pass has no positions");
  }
  const at::Tensor steps =
      at::floor(pass.encoding.positions.add(temperature.shift).div(temperature.period)).clamp_min(0);
  return at::log1p(steps).mul(temperature.slope).add(1).to(like.options()).unsqueeze(1).unsqueeze(-1);
}

at::Tensor rotated(const LayerShape& shape, const at::Tensor& x, const RotaryTable& table) {
  return shape.latent ? rotate_latent(x, table, shape.latent->nope_dim) : apply_rotary(x, table);
}

ScoreRule rule_of(const LayerShape& shape, const DecoderLayerWeights& weights) {
  return {shape.score_scale, shape.score_softcap, shape.window, shape.chunk, weights.sinks};
}

// The attention's contribution before the output projection, [B, T, H*D]; undefined when the pass stops here.
at::Tensor attend(const DecoderPass& pass, const DecoderLayerWeights& weights, int64_t layer,
                  const at::Tensor& x) {
  const LayerShape& shape = pass.config.layer(layer);
  const bool shown = pass.shows(layer), last = pass.options.stop_after_qk_of_layer == layer;
  const bool rows_only = pass.options.stop_after_rows_of_layer == layer;
  Qkv in =
      shape.latent ? latent(shape, weights, x) : softmax_qkv(pass, shape, weights, !last && !rows_only, x);
  at::Tensor q = in.q, k = in.k, v = in.v;
  if (shown && pass.taps.qk) pass.taps.qk(layer, q, k);
  const bool shows_anchored = shown && pass.taps.q_anchored && !pass.encoding.anchored.empty();
  if (last && !(shown && pass.taps.qk_rotated) && !shows_anchored) return {};
  const RotaryTable& table = pass.encoding.table(layer);
  const double eps = pass.config.rms_norm_eps;
  const bool norm_after = shape.qk_norm == QkNorm::kAfterRotation && shape.rotates();
  const auto finished = [&](at::Tensor rotated_q) {
    if (norm_after) rotated_q = unit_rms(rotated_q, eps);
    if (shape.temperature) rotated_q = rotated_q.mul(temperature_of(pass, *shape.temperature, rotated_q));
    return rotated_q;
  };
  at::Tensor q_anchored;
  if (!pass.encoding.anchored.empty())
    q_anchored = finished(rotated(shape, q, pass.encoding.anchored_table(layer)));
  if (shows_anchored) pass.taps.q_anchored(layer, q_anchored);
  q = finished(rotated(shape, q, table));
  if (shape.keys_of >= 0) {
    const auto found = pass.shared_keys.find(shape.keys_of);
    if (found == pass.shared_keys.end())
      throw InternalError("layer {}: the keys of layer {} are gone", layer, shape.keys_of);
    k = found->second.first, v = found->second.second;
  } else {
    k = rotated(shape, k, table);
    if (norm_after) k = unit_rms(k, eps);
  }
  if (shown && pass.taps.qk_rotated) {
    pass.taps.qk_rotated(layer, q, k.narrow(2, k.size(2) - q.size(2), q.size(2)));
  }
  if (last) return {};
  if (pass.cache != nullptr && shape.keys_of < 0) {
    pass.cache->append(layer, k, v);
    k = pass.cache->keys[static_cast<size_t>(layer)];
    v = pass.cache->values[static_cast<size_t>(layer)];
    // Later passes see no more of the past than this.
    if (shape.window > 0) pass.cache->keep_last(layer, shape.window - 1);
    if (shape.chunk > 0) pass.cache->keep_last(layer, shape.chunk);
  }
  if (is_read_by_others(pass.config, layer)) pass.shared_keys[layer] = {k, v};
  const ScoreRule rule = rule_of(shape, weights);
  if (shown && pass.taps.attention) {
    pass.taps.attention->sink(
        layer, pass.attention.rows(layer, q, q_anchored, k, pass.taps.attention->query_index, rule));
    if (pass.taps.attention->other_keys) {
      pass.taps.attention->other_keys(
          layer, k, [&](const std::vector<int64_t>& query_index, const at::Tensor& keys) {
            return pass.attention.rows(layer, q, q_anchored, keys, query_index, rule);
          });
    }
  }
  if (rows_only) return {};
  const at::Tensor out = pass.attention.attend(layer, q, q_anchored, k, v, rule);
  return in.gate.defined() ? out.mul(at::sigmoid(in.gate)) : out;
}

at::Tensor delta(const DecoderPass& pass, const DecoderLayerWeights& weights, int64_t layer,
                 const at::Tensor& x) {
  const DeltaWeights of_rule{weights.delta_input, weights.delta_gate,   weights.delta_step,
                             weights.delta_beta,  weights.delta_kernel, weights.delta_decay,
                             weights.delta_bias,  weights.delta_norm,   weights.o};
  const DeltaShape& shape = *pass.config.layer(layer).delta;
  const double eps = pass.config.rms_norm_eps;
  if (!pass.segment_lengths.empty()) {  // every text begins with an empty state
    std::vector<at::Tensor> parts;
    int64_t first = 0;
    for (const int64_t length : pass.segment_lengths) {
      parts.push_back(delta_rule(x.narrow(1, first, length), of_rule, shape, eps).out);
      first += length;
    }
    return at::cat(parts, 1);
  }
  const DeltaState past = pass.cache == nullptr ? DeltaState() : pass.cache->state(layer);
  DeltaOutput output = delta_rule(x, of_rule, shape, eps, past);
  if (pass.cache != nullptr) pass.cache->set_state(layer, std::move(output.state));
  return output.out;
}

at::Tensor dense(const DecoderConfig& config, const DecoderLayerWeights& weights, const at::Tensor& x) {
  if (config.activation == GateActivation::kSilu) {
    return gated_linear(x, weights.gate, weights.gate_bias, weights.up, weights.up_bias);
  }
  at::Tensor opened = linear(x, weights.gate, weights.gate_bias);
  const at::Tensor up = linear(x, weights.up, weights.up_bias);
  if (at::GradMode::is_enabled()) return at::gelu(opened, "tanh").mul(up);
  return at::gelu_(opened, "tanh").mul_(up);  // fresh memory of this size costs as much as the function
}

at::Tensor expert_mix(const DecoderPass& pass, const ExpertShape& experts, const DecoderLayerWeights& weights,
                      const at::Tensor& routed, const at::Tensor& x) {
  const RouterWeights router{weights.router, weights.router_bias, weights.router_correction,
                             weights.router_scale, weights.expert_scale};
  const int64_t width = x.size(-1);
  const Routing routing = route(routed.reshape({-1, width}), router, experts, pass.config.rms_norm_eps);
  return mix_experts(x.reshape({-1, width}), routing, experts, pass.config.activation, *weights.experts)
      .view(x.sizes());
}

// What the feed-forward adds, from its normed input; `residual` is what Gemma 4's experts go by.
at::Tensor feed_forward(const DecoderPass& pass, const LayerShape& shape, const DecoderLayerWeights& weights,
                        const at::Tensor& residual, const at::Tensor& x) {
  const DecoderConfig& config = pass.config;
  at::Tensor out;
  if (shape.inner > 0) out = linear(dense(config, weights, x), weights.down, weights.down_bias);
  if (!shape.experts) return out;
  if (weights.expert_norm.defined()) {  // side by side, each with norms of its own
    const at::Tensor mixed = expert_mix(pass, *shape.experts, weights, residual,
                                        decoder_norm(config, residual, weights.expert_norm));
    return decoder_norm(config, out, weights.mlp_branch_norm)
        .add(decoder_norm(config, mixed, weights.expert_out_norm));
  }
  at::Tensor mixed = expert_mix(pass, *shape.experts, weights, x, x);
  if (weights.shared_gate.defined()) {
    const at::Tensor inner = gated_linear(x, weights.shared_gate, {}, weights.shared_up, {});
    mixed = mixed.add(linear(inner, weights.shared_down, {}));
  }
  return mixed;
}

// Gemma 4: what the layer's own embedding of the token adds.
at::Tensor with_layer_input(const DecoderPass& pass, const DecoderLayerWeights& weights, int64_t layer,
                            const at::Tensor& hidden) {
  const at::Tensor opened = at::gelu(linear(hidden, weights.layer_input_gate, {}), "tanh");
  const at::Tensor own =
      linear(opened.mul(pass.layer_inputs.select(2, layer)), weights.layer_input_projection, {});
  return hidden.add(decoder_norm(pass.config, own, weights.layer_input_norm));
}

}  // namespace

at::Tensor decoder_norm(const DecoderConfig& config, const at::Tensor& x, const at::Tensor& weight) {
  if (!weight.defined()) return x;
  if (config.norm == NormKind::kRms) return rms_norm(x, weight, config.rms_norm_eps);
  // Rounded once, after the weight, as these models were trained.
  const at::Tensor wide = x.scalar_type() == at::kDouble ? x : x.to(at::kFloat);
  const at::Tensor factor = weight.to(wide.scalar_type());
  if (config.norm == NormKind::kRmsAddOne) {
    return rms_norm(wide.contiguous(), factor.add(1), config.rms_norm_eps).to(x.scalar_type());
  }
  return at::layer_norm(wide, {x.size(-1)}, factor, {}, config.rms_norm_eps).to(x.scalar_type());
}

at::Tensor run_layer(const DecoderPass& pass, const DecoderLayerWeights& weights, int64_t layer,
                     const at::Tensor& hidden) {
  const DecoderConfig& config = pass.config;
  const LayerShape& shape = config.layer(layer);
  const double scale = config.residual_scale;
  // A branch is a new tensor, which nobody else looks at.
  const auto plus = [scale](const at::Tensor& residual, const at::Tensor& branch) {
    if (at::GradMode::is_enabled()) return residual.add(scale == 1 ? branch : branch.mul(scale));
    return (scale == 1 ? branch : branch.mul(scale)).add_(residual);
  };
  const at::Tensor x = decoder_norm(config, hidden, weights.input_norm);
  at::Tensor middle;
  // The plain residual and the product that it is added to are one kernel.
  const bool direct = !weights.attention_out_norm.defined() && scale == 1 && !config.parallel;
  if (shape.mixer == Mixer::kDeltaRule) {
    if (pass.options.stop_after_qk_of_layer == layer || pass.options.stop_after_rows_of_layer == layer)
      return {};
    middle = plus(hidden, delta(pass, weights, layer, x));
  } else {
    const at::Tensor mixed = attend(pass, weights, layer, x);
    if (!mixed.defined()) return {};
    if (direct) {
      middle = linear_plus(hidden, mixed, weights.o, weights.o_bias);
    } else {
      middle = plus(
          hidden, decoder_norm(config, linear(mixed, weights.o, weights.o_bias), weights.attention_out_norm));
    }
  }
  at::Tensor out;
  if (config.parallel) {
    out = plus(middle, feed_forward(pass, shape, weights, middle, x));
  } else {
    const at::Tensor y = decoder_norm(config, middle, weights.mlp_norm);
    if (!shape.experts && !weights.mlp_out_norm.defined() && scale == 1) {
      out = linear_plus(middle, dense(config, weights, y), weights.down, weights.down_bias);
    } else {
      out = plus(middle,
                 decoder_norm(config, feed_forward(pass, shape, weights, middle, y), weights.mlp_out_norm));
    }
  }
  if (weights.layer_input_gate.defined()) out = with_layer_input(pass, weights, layer, out);
  if (weights.output_scale.defined()) out = out.mul(weights.output_scale);
  return out;
}

}  // namespace ropescope
