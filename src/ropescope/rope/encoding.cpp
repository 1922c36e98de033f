#include "ropescope/rope/encoding.h"

#include <algorithm>

#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>

#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

// Every entry through `move`; neighbours that are one tensor are moved once.
template <typename T, typename Move, typename Same>
std::vector<T> moved(const std::vector<T>& entries, const Move& move, const Same& same) {
  std::vector<T> result;
  for (size_t i = 0; i < entries.size(); ++i) {
    result.push_back(i > 0 && same(entries[i], entries[i - 1]) ? result.back() : move(entries[i]));
  }
  return result;
}

void check_combination(const Scheme& scheme, const EncodedModel& model) {
  if (scheme.biased() && scheme.bias_heads().value_or(model.heads) != model.heads) {
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
  result.visual = visual;
  if (raster.defined()) result.raster = raster.to(device);
  result.slopes = slopes;
  result.ids = moved(
      ids, [device](const at::Tensor& id) { return id.to(device); },
      [](const at::Tensor& a, const at::Tensor& b) { return a.is_same(b); });
  return result;
}

SequenceEncoding::SequenceEncoding(const Scheme& scheme, const Layout& layout, const EncodedModel& model)
    : scheme_(scheme), model_(model) {
  check_combination(scheme, model);
  if (!scheme.depends_on_layer() || model.layers == 0) {
    layers_.push_back(scheme.positions(layout));
  } else {
    for (int64_t layer = 0; layer < model.layers; ++layer) {
      Positions positions = scheme.positions(layout, layer);
      // Deep layers of PyPE agree; they then share memory, and later their tables.
      if (!layers_.empty() && layers_.back().coordinates.equal(positions.coordinates))
        positions = layers_.back();
      layers_.push_back(std::move(positions));
    }
  }
  // Sections that do not fit the model are found here, not in the middle of a run.
  scheme.frequencies(model.rope, model.head_dim, model.kv_heads, model.max_position_embeddings,
                     std::max(1.0, layers_.front().largest() + 1));
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
  for (size_t l = 0; l < layers_.size(); ++l) {
    const Positions& positions = layers_[l];
    if (l > 0 && positions.coordinates.is_same(layers_[l - 1].coordinates)) {
      result.rotary.push_back(result.rotary.back());
      if (!result.anchored.empty()) result.anchored.push_back(result.anchored.back());
      if (!result.ids.empty()) result.ids.push_back(result.ids.back());
      continue;
    }
    const at::Tensor all = coordinates_of(positions, seen);
    const Frequencies frequencies =
        scheme_.frequencies(model_.rope, model_.head_dim, model_.kv_heads, model_.max_position_embeddings,
                            all.max().item<double>() + 1);
    result.rotary.push_back(make_rotary_table(all.narrow(1, past, tokens).unsqueeze(1), frequencies));
    if (scheme_.anchored()) {
      const at::Tensor anchors = anchors_of(positions, seen).narrow(1, past, tokens);
      result.anchored.push_back(make_rotary_table(anchors.unsqueeze(1), frequencies));
    }
    if (scheme_.rings() || scheme_.biased()) {
      result.ids.push_back(all[0].contiguous());
    }
  }
  const Positions& first = layers_.front();
  const int64_t generated = std::max<int64_t>(0, seen - first.tokens());
  const int64_t given = seen - generated;
  if (scheme_.anchored()) {
    const at::Tensor visual = first.modality.narrow(0, 0, given).ne(0).to(at::kByte).contiguous();
    const uint8_t* from = visual.const_data_ptr<uint8_t>();
    result.visual.assign(from, from + given);
    result.visual.resize(static_cast<size_t>(seen), 0);
  }
  if (scheme_.rings()) {
    result.raster = at::cat({first.raster.narrow(0, 0, given), at::full({generated}, -1, at::kInt)});
    const int32_t* raster = result.raster.const_data_ptr<int32_t>();
    const auto split = [&](int64_t at) {
      return at > 0 && at < first.tokens() && first.raster[at].item<int>() >= 0 &&
             first.raster[at].item<int>() == raster[at - 1];
    };
    if (split(past) || split(seen)) {
      throw InputError("scheme \"{}\": a pass of the model would cut a picture, whose tokens see each other",
                       scheme_.text());
    }
  }
  result.slopes = scheme_.bias_slopes(model_.heads);
  return result;
}

bool SequenceEncoding::frequencies_change_until(int64_t tokens) const {
  if (model_.rope.type != RopeType::kDynamic) return false;
  const int64_t trained =
      model_.rope.original_max_position_embeddings.value_or(model_.max_position_embeddings);
  return coordinates(tokens).max().item<double>() + 1 > static_cast<double>(trained);
}

}  // namespace ropescope
