#include "ropescope/probe/layer_facts.h"

#include <map>

#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/models/decoder.h"
#include "ropescope/probe/samples.h"
#include "ropescope/weights/warn_once.h"

namespace ropescope {

namespace {

LayerFacts facts_of_layer(const DecoderConfig& config, int64_t index) {
  const LayerShape& layer = config.layer(index);
  LayerFacts facts;
  facts.kind = layer.kind;
  facts.has_qk = layer.has_qk() && layer.keys_of < 0;
  facts.rotates = layer.rotates();
  if (facts.rotates) facts.rope = *config.rope_of(index);
  facts.head_dim = layer.latent ? layer.latent->nope_dim + layer.latent->rope_dim : layer.head_dim;
  facts.first_rotary = layer.latent ? layer.latent->nope_dim : 0;
  facts.pairing = config.pairing;
  facts.window = layer.window;
  facts.chunk = layer.chunk;
  facts.score_scale = layer.score_scale;
  facts.norm_after_rotation = facts.rotates && layer.qk_norm == QkNorm::kAfterRotation;
  return facts;
}

/// "0-4 (heads of 256 channels) and 5 (heads of 512 channels)"
std::string sizes_text(const std::map<int64_t, std::vector<int64_t>>& layers_of_size) {
  std::string text;
  for (const auto& [size, layers] : layers_of_size) {
    text +=
        fmt::format("{}{} (heads of {} channels)", text.empty() ? "" : " and ", ranges_text(layers), size);
  }
  return text;
}

}  // namespace

std::vector<LayerFacts> layer_facts(const DecoderConfig& config) {
  std::vector<LayerFacts> layers;
  for (int64_t l = 0; l < config.num_hidden_layers; ++l) layers.push_back(facts_of_layer(config, l));
  return layers;
}

bool turn_alike(const LayerFacts& a, const LayerFacts& b) {
  if (a.rotates != b.rotates || a.head_dim != b.head_dim) return false;
  return !a.rotates || (a.rope == b.rope && a.first_rotary == b.first_rotary && a.pairing == b.pairing);
}

Frequencies layer_frequencies(const LayerFacts& layer, int64_t max_position_embeddings) {
  return make_frequencies(layer.rope, layer.head_dim - layer.first_rotary, max_position_embeddings,
                          static_cast<double>(max_position_embeddings));
}

at::Tensor halves_order(const LayerFacts& layer, int64_t rotary_dim) {
  const int64_t half = rotary_dim / 2, first = layer.first_rotary;
  const bool adjacent = layer.pairing == PairLayout::kAdjacent;
  std::vector<int64_t> still, order;
  for (int64_t c = 0; c < layer.head_dim; ++c) {
    if (c < first || c >= first + rotary_dim) still.push_back(c);
  }
  const auto still_half = static_cast<std::ptrdiff_t>(still.size() / 2);
  for (int64_t i = 0; i < half; ++i) order.push_back(first + (adjacent ? 2 * i : i));
  order.insert(order.end(), still.begin(), still.begin() + still_half);
  for (int64_t i = 0; i < half; ++i) order.push_back(first + (adjacent ? 2 * i + 1 : half + i));
  order.insert(order.end(), still.begin() + still_half, still.end());
  return at::tensor(order, at::kLong);
}

std::vector<int64_t> layers_to_sample(const DecoderConfig& config, const std::vector<int64_t>& asked) {
  require_qk(config, asked);
  const std::vector<LayerFacts> facts = layer_facts(config);
  const auto fact = [&](int64_t layer) -> const LayerFacts& { return facts[static_cast<size_t>(layer)]; };
  std::vector<int64_t> own, shared;
  std::map<int64_t, std::vector<int64_t>> layers_of_size;
  for (const int64_t layer : layers_with_qk(config)) {
    if (fact(layer).has_qk) {
      own.push_back(layer);
      layers_of_size[fact(layer).head_dim].push_back(layer);
    } else {
      shared.push_back(layer);
    }
  }
  if (own.empty()) throw UsageError("--model: expected layers with queries and keys to sample, found none");
  if (asked.empty()) {
    if (!shared.empty()) {
      warn_once(
          fmt::format("layers {} read the keys of earlier layers and are not sampled", ranges_text(shared)));
    }
    const int64_t size = fact(own.front()).head_dim;
    if (layers_of_size.size() > 1) {
      warn_once(fmt::format(
          "a samples file holds heads of one size: of layers {} only {} are sampled; --layers chooses others",
          sizes_text(layers_of_size), ranges_text(layers_of_size[size])));
    }
    return layers_of_size[size];
  }
  for (const int64_t layer : asked) {
    if (!fact(layer).has_qk) {
      throw UsageError(
          "--layers: expected layers with keys of their own ({}), found {}, which reads those of layer {}",
          ranges_text(own), layer, config.layer(layer).keys_of);
    }
    if (fact(layer).head_dim != fact(asked.front()).head_dim) {
      throw UsageError(
          "--layers: expected layers whose heads have one size, found layers {}; a samples file holds one",
          sizes_text(layers_of_size));
    }
  }
  return asked;
}

}  // namespace ropescope
