#include "ropescope/models/vision_tower.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include <fmt/ranges.h>

#include <ATen/ops/add.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softmax.h>

#include "ropescope/core/errors.h"
#include "ropescope/models/attention.h"
#include "ropescope/models/attention_rows.h"
#include "ropescope/models/kernels/linear.h"

namespace ropescope {

namespace {

using kernels::linear_plus;

at::Tensor affine(const at::Tensor& x, const Affine& map) { return kernels::linear(x, map.weight, map.bias); }

at::Tensor layer_norm(const at::Tensor& x, const Affine& norm, double eps) {
  return at::layer_norm(x, {x.size(-1)}, norm.weight, norm.bias, eps);
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
  return config.class_token() ? layer_norm(x, weights.pre_norm, config.layer_norm_eps) : x;
}

at::Tensor run_tower_layer(const VisionTower& tower, int64_t index, const at::Tensor& x,
                           const VisionTaps& taps) {
  const VisionLayerWeights& weights = tower.weights.layers[static_cast<size_t>(index)];
  const double eps = tower.config.layer_norm_eps;
  const int64_t heads = tower.config.num_attention_heads;
  const at::Tensor normed = layer_norm(x, weights.norm1, eps);
  const at::Tensor q = split_heads(affine(normed, weights.q), heads);
  const at::Tensor k = split_heads(affine(normed, weights.k), heads);
  const at::Tensor v = split_heads(affine(normed, weights.v), heads);
  if (taps.attention) taps.attention(index, attention_rows(q, k));
  const at::Tensor hidden = linear_plus(x, attend_to_all(q, k, v), weights.out.weight, weights.out.bias);
  const at::Tensor inner =
      activate(affine(layer_norm(hidden, weights.norm2, eps), weights.fc1), tower.config.activation);
  return linear_plus(hidden, inner, weights.fc2.weight, weights.fc2.bias);
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
                          [&](const at::Tensor& x) { return run_tower_layer(tower, l, x, taps); });
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

}  // namespace

bool requires_grad(const VisionWeights& weights) {
  const auto learns = [](const Affine& map) {
    return (map.weight.defined() && map.weight.requires_grad()) ||
           (map.bias.defined() && map.bias.requires_grad());
  };
  if (learns(weights.patch) || learns(weights.pre_norm) || weights.position.requires_grad() ||
      (weights.class_embedding.defined() && weights.class_embedding.requires_grad())) {
    return true;
  }
  return std::any_of(weights.layers.begin(), weights.layers.end(), [&](const VisionLayerWeights& layer) {
    return learns(layer.norm1) || learns(layer.q) || learns(layer.k) || learns(layer.v) ||
           learns(layer.out) || learns(layer.norm2) || learns(layer.fc1) || learns(layer.fc2);
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
  }
  throw InternalError("activate: no such activation");
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
