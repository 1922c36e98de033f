#include "ropescope/models/vision_tower.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include <fmt/ranges.h>

#include <ATen/ops/add.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softmax.h>

#include "ropescope/core/errors.h"
#include "ropescope/models/attention.h"
#include "ropescope/models/attention_rows.h"
#include "ropescope/models/kernels/linear.h"
#include "ropescope/models/kernels/rms_norm.h"

namespace ropescope {

namespace {

using kernels::linear_plus;

at::Tensor affine(const at::Tensor& x, const Affine& map) { return kernels::linear(x, map.weight, map.bias); }

at::Tensor layer_norm(const at::Tensor& x, const Affine& norm, double eps) {
  return at::layer_norm(x, {x.size(-1)}, norm.weight, norm.bias, eps);
}

at::Tensor tower_norm(const VisionConfig& config, const at::Tensor& x, const Affine& norm) {
  return config.rms_norm ? kernels::rms_norm(x, norm.weight, config.layer_norm_eps)
                         : layer_norm(x, norm, config.layer_norm_eps);
}

// Every query sees every key. [B, H, T, D] -> [B, T, C].
at::Tensor attend_to_all(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  return at::scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2);
}

at::Tensor attention_rows(const at::Tensor& q, const at::Tensor& k) {
  std::vector<int64_t> queries(static_cast<size_t>(q.size(2)));
  std::iota(queries.begin(), queries.end(), 0);
  return score_rows(q, k, queries).softmax(-1);
}

at::Tensor embed_patches(const VisionTower& tower, const at::Tensor& pixel_values) {
  const VisionConfig& config = tower.config;
  const VisionWeights& weights = tower.weights;
  const int64_t side = config.image_size;
  if (pixel_values.dim() != 4 || pixel_values.size(1) != 3 || pixel_values.size(2) != side ||
      pixel_values.size(3) != side) {
    throw InputError("pixel_values: expected [images, 3, {}, {}] for this vision tower, found [{}]", side,
                     side, fmt::join(pixel_values.sizes(), ", "));
  }
  const at::Tensor pixels =
      pixel_values.to(weights.patch.weight.device(), weights.patch.weight.scalar_type());
  const auto bias =
      weights.patch.bias.defined() ? std::optional<at::Tensor>(weights.patch.bias) : std::nullopt;
  const int64_t p = config.patch_size;
  at::Tensor x = at::conv2d(pixels, weights.patch.weight, bias, {p, p}).flatten(2).transpose(1, 2);
  if (config.class_token()) {
    const at::Tensor first = weights.class_embedding.expand({x.size(0), 1, config.hidden_size});
    x = at::cat({first, x}, 1);
  }
  x = x.add(weights.position);
  return config.pre_norm() ? layer_norm(x, weights.pre_norm, config.layer_norm_eps) : x;
}

at::Tensor feed_forward(const VisionConfig& config, const VisionLayerWeights& weights,
                        const at::Tensor& normed) {
  if (config.gated_mlp && config.activation == Activation::kSilu) {
    return kernels::gated_linear(normed, weights.gate.weight, weights.gate.bias, weights.fc1.weight,
                                 weights.fc1.bias);
  }
  const at::Tensor inner = affine(normed, weights.fc1);
  return config.gated_mlp ? activate(affine(normed, weights.gate), config.activation).mul(inner)
                          : activate(inner, config.activation);
}

// x + scale (W y + b); without a scale the sum is the product's epilogue.
at::Tensor add_scaled(const at::Tensor& x, const at::Tensor& y, const Affine& map, const at::Tensor& scale) {
  return scale.defined() ? x.add(affine(y, map).mul(scale)) : linear_plus(x, y, map.weight, map.bias);
}

// `mix(q, k, v)`, [B, H, T, D] each, gives what the patches see, [B, T, C].
template <typename Mix>
at::Tensor run_tower_layer(const VisionTower& tower, int64_t index, const at::Tensor& x, const Mix& mix) {
  const VisionConfig& config = tower.config;
  const VisionLayerWeights& weights = tower.weights.layers[static_cast<size_t>(index)];
  const int64_t heads = config.num_attention_heads;
  const at::Tensor normed = tower_norm(config, x, weights.norm1);
  const at::Tensor q = split_heads(affine(normed, weights.q), heads);
  const at::Tensor k = split_heads(affine(normed, weights.k), heads);
  const at::Tensor v = split_heads(affine(normed, weights.v), heads);
  const at::Tensor hidden = add_scaled(x, mix(q, k, v), weights.out, weights.scale1);
  return add_scaled(hidden, feed_forward(config, weights, tower_norm(config, hidden, weights.norm2)),
                    weights.fc2, weights.scale2);
}

at::Tensor run_tile_layer(const VisionTower& tower, int64_t index, const at::Tensor& x,
                          const VisionTaps& taps) {
  return run_tower_layer(tower, index, x, [&](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
    if (taps.attention) taps.attention(index, attention_rows(q, k));
    return attend_to_all(q, k, v);
  });
}

// Hidden states 0 to `depth`; `keep` gets each.
template <typename Keep>
void run_layers(const VisionTower& tower, const at::Tensor& pixel_values, int64_t depth,
                const VisionTaps& taps, const Keep& keep) {
  if (depth > static_cast<int64_t>(tower.weights.layers.size())) {
    throw InternalError("vision tower: layer {} was asked of a tower loaded with {}", depth,
                        tower.weights.layers.size());
  }
  at::Tensor hidden = embed_patches(tower, pixel_values);
  for (int64_t l = 0;; ++l) {
    if (taps.hidden) taps.hidden(l, hidden);
    keep(l, hidden);
    if (l == depth) return;
    hidden = with_weights(tower.access, tower.weights.layers[static_cast<size_t>(l)].q.weight, hidden,
                          [&](const at::Tensor& x) { return run_tile_layer(tower, l, x, taps); });
  }
}

at::Tensor pool(const VisionTower& tower, const at::Tensor& tokens) {
  const VisionHeadWeights& head = tower.weights.head;
  const int64_t heads = tower.config.num_attention_heads, size = tower.config.hidden_size;
  const at::Tensor probe = head.probe.expand({tokens.size(0), 1, size});
  const auto project = [&](const at::Tensor& x, int64_t part) {
    const Affine map{head.in_proj.weight.narrow(0, part * size, size),
                     head.in_proj.bias.narrow(0, part * size, size)};
    return split_heads(affine(x, map), heads);
  };
  const at::Tensor mixed = attend_to_all(project(probe, 0), project(tokens, 1), project(tokens, 2));
  const at::Tensor y = affine(mixed, head.out_proj);
  const at::Tensor inner = activate(affine(layer_norm(y, head.norm, tower.config.layer_norm_eps), head.fc1),
                                    tower.config.activation);
  return linear_plus(y, inner, head.fc2.weight, head.fc2.bias).select(1, 0);
}

at::Tensor embed_packed(const VisionTower& tower, const at::Tensor& patches,
                        const std::vector<PatchGrid>& grids) {
  const VisionConfig& config = tower.config;
  const VisionWeights& weights = tower.weights;
  const at::Tensor pixels = patches.to(weights.patch.weight.device(), weights.patch.weight.scalar_type());
  at::Tensor x = kernels::linear(pixels, weights.patch.weight.flatten(1), weights.patch.bias);
  if (config.pre_norm()) x = tower_norm(config, x, weights.pre_norm);
  if (config.positions != VisionPositions::kNone)
    x = x.add(stretched_positions(config, weights.position, grids));
  return x;
}

// Segment by segment: places in the input, and the softmax rows of those patches over each other.
void show_segments(const VisionTaps& taps, int64_t layer, const PatchPlan& plan,
                   const PatchSegments& segments, const at::Tensor& q, const at::Tensor& k) {
  int64_t first = 0;
  for (const int64_t length : segments.lengths()) {
    const at::Tensor rows = attention_rows(q.narrow(2, first, length), k.narrow(2, first, length)).squeeze(0);
    const at::Tensor places = plan.order.defined() ? plan.order.narrow(0, first, length)
                                                   : at::arange(first, first + length, at::kLong);
    taps.segment_attention(layer, places, rows);
    first += length;
  }
}

}  // namespace

bool requires_grad(const VisionWeights& weights) {
  const auto learns = [](const Affine& map) {
    return (map.weight.defined() && map.weight.requires_grad()) ||
           (map.bias.defined() && map.bias.requires_grad());
  };
  if (learns(weights.patch) || learns(weights.pre_norm) ||
      (weights.position.defined() && weights.position.requires_grad()) ||
      (weights.class_embedding.defined() && weights.class_embedding.requires_grad())) {
    return true;
  }
  return std::any_of(weights.layers.begin(), weights.layers.end(), [&](const VisionLayerWeights& layer) {
    return learns(layer.norm1) || learns(layer.q) || learns(layer.k) || learns(layer.v) ||
           learns(layer.out) || learns(layer.norm2) || learns(layer.gate) || learns(layer.fc1) ||
           learns(layer.fc2) || learns({layer.scale1, layer.scale2});
  });
}

at::Tensor activate(const at::Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::kQuickGelu:
      return x.mul(at::sigmoid(x.mul(1.702)));
    case Activation::kGelu:
      return at::gelu(x);
    case Activation::kGeluTanh:
      return at::gelu(x, "tanh");
    case Activation::kSilu:
      return at::silu(x);
  }
  throw InternalError("activate: no such activation");
}

at::Tensor last_norm(const VisionTower& tower, const at::Tensor& x) {
  if (!tower.weights.post_norm.weight.defined()) {
    throw InputError("vision tower: expected a norm after its last layer, but the checkpoint has none");
  }
  return tower_norm(tower.config, x, tower.weights.post_norm);
}

PatchFeatures patch_features(const VisionTower& tower, const at::Tensor& patches,
                             const std::vector<PatchGrid>& grids, const VisionTaps& taps) {
  const VisionConfig& config = tower.config;
  const int64_t depth = config.num_hidden_layers;
  if (!config.packed || static_cast<int64_t>(tower.weights.layers.size()) != depth) {
    throw InternalError("patch_features: expected a whole tower over patches");
  }
  const int64_t count = count_patches(grids, config.merge_size);
  if (patches.dim() != 2 || patches.size(0) != count || patches.size(1) != config.patch_numbers() ||
      count == 0) {
    throw InputError("pixel_values: expected [{}, {}] for these grids and this vision tower, found [{}]",
                     count, config.patch_numbers(), fmt::join(patches.sizes(), ", "));
  }
  const PatchPlan plan = plan_patches(config, grids, tower.weights.patch.weight.device());
  const auto in_tower_order = [&](const at::Tensor& x) {
    return plan.order.defined() ? x.index_select(0, plan.order) : x;
  };
  const auto in_input_order = [&](const at::Tensor& x) {
    return plan.restore.defined() ? x.index_select(0, plan.restore) : x;
  };
  PatchFeatures found;
  found.deep.resize(config.deepstack_layers.size());
  at::Tensor hidden = in_tower_order(embed_packed(tower, patches, grids)).unsqueeze(0);
  if (taps.hidden) taps.hidden(0, hidden.squeeze(0));
  for (int64_t l = 0; l < depth; ++l) {
    const bool full =
        std::find(config.full_layers.begin(), config.full_layers.end(), l) != config.full_layers.end();
    const PatchSegments& segments = full ? plan.frames : plan.windows;
    const auto mix = [&](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
      const bool turns = plan.rotary.turns();
      const at::Tensor queries = turns ? apply_rotary(q, plan.rotary) : q,
                       keys = turns ? apply_rotary(k, plan.rotary) : k;
      if (taps.segment_attention) show_segments(taps, l, plan, segments, queries, keys);
      return segments.attend(queries, keys, v);
    };
    hidden = with_weights(tower.access, tower.weights.layers[static_cast<size_t>(l)].q.weight, hidden,
                          [&](const at::Tensor& x) { return run_tower_layer(tower, l, x, mix); });
    if (taps.hidden) taps.hidden(l + 1, hidden.squeeze(0));
    for (size_t j = 0; j < found.deep.size(); ++j) {
      if (config.deepstack_layers[j] == l) found.deep[j] = in_input_order(hidden.squeeze(0));
    }
  }
  found.features = in_input_order(hidden.squeeze(0));
  if (tower.weights.post_norm.weight.defined()) found.features = last_norm(tower, found.features);
  return found;
}

VisionOutput forward(const VisionTower& tower, const at::Tensor& pixel_values, const VisionTaps& taps) {
  const VisionWeights& weights = tower.weights;
  if (!weights.post_norm.weight.defined()) {
    throw InputError(
        "vision tower: expected post_layernorm for its last hidden state, but the checkpoint has none");
  }
  VisionOutput output;
  run_layers(tower, pixel_values, tower.config.num_hidden_layers, taps,
             [&](int64_t, const at::Tensor& hidden) { output.last_hidden = hidden; });
  const double eps = tower.config.layer_norm_eps;
  if (tower.config.class_token()) {
    output.pooled = layer_norm(output.last_hidden.select(1, 0), weights.post_norm, eps);
    return output;
  }
  output.last_hidden = layer_norm(output.last_hidden, weights.post_norm, eps);
  if (weights.head.probe.defined()) output.pooled = pool(tower, output.last_hidden);
  return output;
}

at::Tensor visual_features(const VisionTower& tower, const at::Tensor& pixel_values,
                           const std::vector<int64_t>& layers, const VisionTaps& taps) {
  if (layers.empty()) throw InternalError("visual_features: expected at least one layer");
  std::vector<at::Tensor> chosen(layers.size());
  const int64_t deepest = *std::max_element(layers.begin(), layers.end());
  run_layers(tower, pixel_values, deepest, taps, [&](int64_t depth, const at::Tensor& hidden) {
    for (size_t i = 0; i < layers.size(); ++i) {
      if (layers[i] != depth) continue;
      chosen[i] = tower.config.class_token() ? hidden.narrow(1, 1, hidden.size(1) - 1) : hidden;
    }
  });
  return chosen.size() == 1 ? chosen[0] : at::cat(chosen, -1);
}

}  // namespace ropescope
