#include "ropescope/rope/encoding.h"

#include <algorithm>
#include <utility>

#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>

#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

// Every entry through `move`; what is one tensor is moved once.
template <typename T, typename Move, typename Same>
std::vector<T> moved(const std::vector<T>& entries, const Move& move, const Same& same) {
  std::vector<T> result;
  std::vector<size_t> distinct;
  for (size_t i = 0; i < entries.size(); ++i) {
    const auto known = std::find_if(distinct.begin(), distinct.end(),
                                    [&](size_t other) { return same(entries[i], entries[other]); });
    if (known != distinct.end()) {
      result.push_back(result[*known]);
      continue;
    }
    distinct.push_back(i);
    result.push_back(move(entries[i]));
  }
  return result;
}

void check_combination(const Scheme& scheme, const EncodedModel& model) {
  if (scheme.bias_heads().value_or(model.heads) != model.heads) {
    throw UsageError("scheme \"{}\": heads: expected the model's {} heads, found {}", scheme.text(),
                     model.heads, *scheme.bias_heads());
  }
}

}  // namespace

PassEncoding PassEncoding::to(at::Device device) const {
  const auto move_table = [device](const RotaryTable& table) { return table.to(device); };
  const auto same_table = [](const RotaryTable& a, const RotaryTable& b) { return a.cos.is_same(b.cos); };
  PassEncoding result;
  result.rotary = moved(rotary, move_table, same_table);
  result.anchored = moved(anchored, move_table, same_table);
  if (positions.defined()) result.positions = positions.to(device);
  result.visual = visual;
  using Rule = std::shared_ptr<const AttentionRule>;
  result.rules = moved(
      rules, [device](const Rule& rule) { return rule->to(device); },
      [](const Rule& a, const Rule& b) { return a == b; });
  return result;
}

SequenceEncoding::SequenceEncoding(const Scheme& scheme, const Layout& layout, const EncodedModel& model)
    : scheme_(scheme), model_(model) {
  check_combination(scheme, model);
  if (!scheme.depends_on_layer() || model.layers == 0) {
    layers_.push_back(scheme.positions(layout));
  } else {
    for (int64_t layer = 0; layer < model.layers; ++layer) {
      Positions positions = scheme.positions(layout, layer, model.layers);
      // Layers that agree (the deep ones of PyPE) share memory, and later their tables.
      const auto like = std::find_if(layers_.rbegin(), layers_.rend(), [&](const Positions& other) {
        return other.next == positions.next && other.coordinates.equal(positions.coordinates);
      });
      if (like != layers_.rend()) positions = Positions(*like);
      layers_.push_back(std::move(positions));
    }
  }
  // Sections that do not fit the model are found here, not in the middle of a run.
  for (size_t layer = 0; layer < std::max<size_t>(1, model.each.size()); ++layer) {
    const EncodedLayer turned = model.of_layer(static_cast<int64_t>(layer));
    if (turned.rotates) frequencies_of(turned, std::max(1.0, layers_.front().largest() + 1));
  }
}

Frequencies SequenceEncoding::frequencies_of(const EncodedLayer& layer, double length) const {
  return scheme_.frequencies(layer.rope, layer.head_dim, layer.kv_heads, model_.max_position_embeddings,
                             length);
}

PassEncoding encoding_of_ids(const Scheme& scheme, const EncodedModel& model, const at::Tensor& ids) {
  const double length = ids.max().item<double>() + 1;
  PassEncoding result;
  result.positions = ids.select(0, 0).to(at::kDouble);
  for (size_t l = 0; l < std::max<size_t>(1, model.each.size()); ++l) {
    const EncodedLayer layer = model.of_layer(static_cast<int64_t>(l));
    size_t like = 0;
    while (like < l && !(model.of_layer(static_cast<int64_t>(like)) == layer)) ++like;
    if (like < l) {
      result.rotary.push_back(result.rotary[like]);
    } else if (!layer.rotates) {
      result.rotary.push_back({});
    } else {
      const Frequencies frequencies = scheme.frequencies(layer.rope, layer.head_dim, layer.kv_heads,
                                                         model.max_position_embeddings, length);
      result.rotary.push_back(make_rotary_table(ids, frequencies, layer.pairing));
    }
  }
  return result;
}

Positions SequenceEncoding::seen_of(const Positions& positions, const at::Tensor& coordinates) {
  const int64_t tokens = coordinates.size(1);
  const int64_t given = std::min(tokens, positions.tokens()), generated = tokens - given;
  const auto with_text = [&](const at::Tensor& values, double of_text) {
    return at::cat({values.narrow(0, 0, given), at::full({generated}, of_text, values.options())});
  };
  Positions seen;
  seen.coordinates = coordinates;
  seen.modality = with_text(positions.modality, 0);
  seen.raster = with_text(positions.raster, -1);
  return seen;
}

at::Tensor SequenceEncoding::coordinates_of(const Positions& positions, int64_t tokens) const {
  const int64_t prompt = positions.tokens();
  if (tokens <= prompt) return positions.coordinates.narrow(1, 0, tokens);
  return at::cat({positions.coordinates, scheme_.generated_positions(positions, 0, tokens - prompt)}, 1);
}

at::Tensor SequenceEncoding::anchors_of(const Positions& positions, int64_t tokens) const {
  const int64_t prompt = positions.tokens();
  if (tokens <= prompt) return positions.anchors.narrow(1, 0, tokens);
  const at::Tensor generated =
      at::full({positions.anchors.size(0), tokens - prompt}, positions.next_anchor, at::kDouble);
  return at::cat({positions.anchors, generated}, 1);
}

at::Tensor SequenceEncoding::coordinates(int64_t tokens) const {
  return coordinates_of(layers_.front(), tokens);
}

PassEncoding SequenceEncoding::pass(int64_t past, int64_t tokens) const {
  const int64_t seen = past + tokens;
  PassEncoding result;
  const size_t entries = std::max(layers_.size(), model_.each.size());
  const auto positions_at = [this](size_t l) -> const Positions& {
    return layers_[layers_.size() == 1 ? 0 : l];
  };
  for (size_t l = 0; l < entries; ++l) {
    const Positions& positions = positions_at(l);
    const EncodedLayer turned = model_.of_layer(static_cast<int64_t>(l));
    // Layers that agree share one table.
    size_t like = 0;
    while (like < l && !(positions_at(like).coordinates.is_same(positions.coordinates) &&
                         model_.of_layer(static_cast<int64_t>(like)) == turned)) {
      ++like;
    }
    if (like < l) {
      result.rotary.push_back(result.rotary[like]);
      if (!result.anchored.empty()) result.anchored.push_back(result.anchored[like]);
      if (!result.rules.empty()) result.rules.push_back(result.rules[like]);
      continue;
    }
    const at::Tensor all = coordinates_of(positions, seen);
    if (scheme_.has_rule()) {
      result.rules.push_back(scheme_.attention_rule(seen_of(positions, all), model_.heads));
    }
    if (!turned.rotates) {
      result.rotary.push_back({});
      if (scheme_.anchored()) result.anchored.push_back({});
      continue;
    }
    const Frequencies frequencies = frequencies_of(turned, all.max().item<double>() + 1);
    result.rotary.push_back(
        make_rotary_table(all.narrow(1, past, tokens).unsqueeze(1), frequencies, turned.pairing));
    if (scheme_.anchored()) {
      const at::Tensor anchors = anchors_of(positions, seen).narrow(1, past, tokens);
      result.anchored.push_back(make_rotary_table(anchors.unsqueeze(1), frequencies, turned.pairing));
    }
  }
  result.positions = coordinates_of(layers_.front(), seen)[0].narrow(0, past, tokens).unsqueeze(0);
  const Positions& first = layers_.front();
  if (scheme_.anchored()) {
    const int64_t given = std::min(seen, first.tokens());
    const at::Tensor visual = first.modality.narrow(0, 0, given).ne(0).to(at::kByte).contiguous();
    const uint8_t* from = visual.const_data_ptr<uint8_t>();
    result.visual.assign(from, from + given);
    result.visual.resize(static_cast<size_t>(seen), 0);
  }
  if (!result.rules.empty() && result.rules.front()->sees_ahead()) {
    const int32_t* raster = first.raster.const_data_ptr<int32_t>();
    const auto split = [&](int64_t at) {
      return at > 0 && at < first.tokens() && raster[at] >= 0 && raster[at] == raster[at - 1];
    };
    if (split(past) || split(seen)) {
      throw InputError("scheme \"{}\": a pass of the model would cut a picture, whose tokens see each other",
                       scheme_.text());
    }
  }
  return result;
}

bool SequenceEncoding::frequencies_change_until(int64_t tokens) const {
  const double longest = coordinates(tokens).max().item<double>() + 1;
  for (size_t l = 0; l < std::max<size_t>(1, model_.each.size()); ++l) {
    const EncodedLayer layer = model_.of_layer(static_cast<int64_t>(l));
    if (!layer.rotates) continue;
    const std::optional<int64_t> trained = length_of_change(layer.rope, model_.max_position_embeddings);
    if (trained && longest > static_cast<double>(*trained)) return true;
  }
  return false;
}

}  // namespace ropescope
