#include "ropescope/analysis/decay_layers.h"

#include <algorithm>
#include <cmath>

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/numbers.h"

namespace ropescope {

namespace {

/// What the samples say of every layer, or the one thing that they say of all.
std::vector<LayerFacts> facts_of_layers(const ModelFacts& model) {
  if (!model.layers.empty()) return model.layers;
  LayerFacts facts;
  facts.rope = model.rope.value_or(RopeConfig{});
  facts.head_dim = model.head_dim;
  return std::vector<LayerFacts>(static_cast<size_t>(model.num_layers), facts);
}

bool of_one_kind(const LayerFacts& a, const LayerFacts& b) {
  return turn_alike(a, b) && a.kind == b.kind && a.window == b.window && a.chunk == b.chunk;
}

std::string kind_name(const LayerFacts& facts) {
  if (!facts.rotates) return "no rotation";
  if (facts.window > 0) return "sliding";
  if (facts.chunk > 0) return "chunked";
  const std::string ending = "_attention";
  const bool ends = facts.kind.size() > ending.size() &&
                    facts.kind.compare(facts.kind.size() - ending.size(), ending.size(), ending) == 0;
  return ends ? facts.kind.substr(0, facts.kind.size() - ending.size()) : facts.kind;
}

void name_kinds(std::vector<LayerKind>& kinds) {
  for (LayerKind& kind : kinds) kind.name = kind_name(kind.facts);
  std::vector<std::string> names;
  for (const LayerKind& kind : kinds) names.push_back(kind.name);
  for (LayerKind& kind : kinds) {
    if (std::count(names.begin(), names.end(), kind.name) > 1) {
      kind.name += fmt::format(" (layers {})", ranges_text(kind.layers));
    }
  }
}

/// Undefined where the channels stand in halves already.
at::Tensor order_of(const LayerFacts& facts, int64_t max_position_embeddings) {
  const int64_t rotary_dim = 2 * layer_frequencies(facts, max_position_embeddings).inv_freq.size(0);
  const at::Tensor order = halves_order(facts, rotary_dim);
  return at::equal(order, at::arange(facts.head_dim, at::kLong)) ? at::Tensor() : order;
}

void check_positive(const char* flag, const std::vector<double>& values) {
  for (const double value : values) {
    if (!(value > 0.0) || !std::isfinite(value)) {
      throw UsageError("--{}: expected positive numbers, found {}", flag, value);
    }
  }
}

}  // namespace

std::string BaseChange::label() const {
  if (theta) return fmt::format("theta {:g}", *theta);
  return scale == 1 ? "" : fmt::format("theta x {:g}", scale);
}

std::vector<BaseChange> base_changes(const BaseColumns& columns) {
  std::vector<BaseChange> changes;
  for (const double theta : columns.theta) changes.push_back({theta, 1});
  for (const double scale : columns.theta_scale) changes.push_back({std::nullopt, scale});
  if (changes.empty()) changes.emplace_back();
  return changes;
}

std::string theta_source(const BaseColumns& columns) {
  if (!columns.theta.empty()) return "given";
  return columns.theta_scale.empty() ? "own" : "scaled";
}

void check_bases(const BaseColumns& columns, const ModelFacts& model) {
  check_positive("theta", columns.theta);
  check_positive("theta-scale", columns.theta_scale);
  if (!columns.theta.empty() && !columns.theta_scale.empty()) {
    throw UsageError("--theta and --theta-scale: expected one of the two");
  }
  if (columns.theta.empty() && !model.rope && model.layers.empty()) {
    throw UsageError("--theta is required: the samples do not say their model's rope_theta");
  }
}

at::Tensor DecayLayers::among(const std::vector<int64_t>& layers) const {
  at::Tensor mask = at::zeros({count}, at::kBool);
  for (const int64_t layer : layers) mask[layer] = true;
  return mask;
}

DecayLayers decay_layers(const ModelFacts& model, const at::Tensor& measured) {
  const std::vector<LayerFacts> facts = facts_of_layers(model);
  DecayLayers result;
  result.count = static_cast<int64_t>(facts.size());
  std::vector<int64_t> empty;
  for (int64_t l = 0; l < result.count; ++l) {
    const LayerFacts& layer = facts[static_cast<size_t>(l)];
    if (!measured[l].item<bool>()) {
      empty.push_back(l);
      continue;
    }
    if (layer.norm_after_rotation) result.normed.push_back(l);
    if (!model.layers.empty()) {
      const auto kind = std::find_if(result.kinds.begin(), result.kinds.end(),
                                     [&](const LayerKind& known) { return of_one_kind(known.facts, layer); });
      if (kind != result.kinds.end()) {
        kind->layers.push_back(l);
      } else {
        result.kinds.push_back({"", {l}, layer});
      }
    }
    if (!layer.rotates) {
      result.still.push_back(l);
      continue;
    }
    const auto like =
        std::find_if(result.turning.begin(), result.turning.end(),
                     [&](const TurningLayers& known) { return turn_alike(known.facts, layer); });
    if (like != result.turning.end()) {
      like->layers.push_back(l);
    } else {
      result.turning.push_back({layer, {l}, order_of(layer, model.max_position_embeddings)});
    }
  }
  std::vector<int64_t>& first = result.turning.empty() ? result.still : result.turning.front().layers;
  first.insert(first.end(), empty.begin(), empty.end());
  std::sort(first.begin(), first.end());
  name_kinds(result.kinds);
  return result;
}

LayerRotation layer_rotation(const LayerFacts& facts, int64_t max_position_embeddings,
                             const BaseChange& change) {
  LayerFacts changed = facts;
  changed.rope.theta = change.of(facts.rope.theta);
  const Frequencies frequencies = layer_frequencies(changed, max_position_embeddings);
  LayerRotation rotation;
  rotation.inv_freq = at::zeros({facts.head_dim / 2}, at::kDouble);
  rotation.inv_freq.narrow(0, 0, frequencies.inv_freq.size(0)).copy_(frequencies.inv_freq);
  rotation.scale = frequencies.attention_scale * frequencies.attention_scale;
  const int64_t pairs = frequencies.inv_freq.size(0);
  rotation.channel_scale = at::ones({2, facts.head_dim / 2}, at::kDouble);
  rotation.channel_scale.narrow(1, 0, pairs).fill_(rotation.scale);
  rotation.channel_scale = rotation.channel_scale.flatten();
  return rotation;
}

double common_base(const DecayLayers& layers, const BaseChange& change) {
  double base = kNan;
  for (const TurningLayers& part : layers.turning) {
    const double of_part = change.of(part.facts.rope.theta);
    if (&part != &layers.turning.front() && of_part != base) return kNan;
    base = of_part;
  }
  return base;
}

at::Tensor kind_bases(const DecayLayers& layers, const std::vector<BaseChange>& changes) {
  const auto T = static_cast<int64_t>(changes.size()), K = static_cast<int64_t>(layers.kinds.size());
  at::Tensor bases = at::full({T, K}, kNan, at::kDouble);
  for (int64_t k = 0; k < K; ++k) {
    const LayerFacts& facts = layers.kinds[static_cast<size_t>(k)].facts;
    if (!facts.rotates) continue;
    for (int64_t t = 0; t < T; ++t) bases[t][k] = changes[static_cast<size_t>(t)].of(facts.rope.theta);
  }
  return bases;
}

std::string left_out_layers(const ModelFacts& model) {
  std::vector<int64_t> others;
  for (size_t l = 0; l < model.layers.size(); ++l) {
    if (model.layers[l].has_qk && model.layers[l].head_dim != model.head_dim)
      others.push_back(static_cast<int64_t>(l));
  }
  if (others.empty()) return "";
  return fmt::format("layers {} are not in the samples, whose heads have another number of channels",
                     ranges_text(others));
}

}  // namespace ropescope
