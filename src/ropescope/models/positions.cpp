// Rotary tables of plain, given and packed positions under a checkpoint's own settings.
#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/ranges.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>

#include "ropescope/core/errors.h"
#include "ropescope/models/decoder.h"

namespace ropescope {

namespace {

EncodedLayer encoded_layer(const DecoderConfig& config, int64_t index) {
  const LayerShape& layer = config.layer(index);
  EncodedLayer encoded;
  encoded.rotates = layer.rotates();
  if (encoded.rotates) encoded.rope = *config.rope_of(index);
  encoded.head_dim = layer.rotary_head_dim();
  encoded.kv_heads = layer.kv_heads;
  encoded.pairing = config.pairing;
  return encoded;
}

/// `axes`: the scheme of ids with three rows; null: they have one.
RotaryTable table_of(const EncodedLayer& layer, const DecoderConfig& config, const Scheme* axes,
                     const at::Tensor& ids, double length) {
  if (!layer.rotates) return {};
  const int64_t trained = config.max_position_embeddings;
  const Frequencies frequencies =
      axes == nullptr ? make_frequencies(layer.rope, layer.head_dim, trained, length)
                      : axes->frequencies(layer.rope, layer.head_dim, layer.kv_heads, trained, length);
  return make_rotary_table(ids, frequencies, layer.pairing);
}

bool differs_by_row(const DecoderConfig& config) {
  return std::any_of(config.ropes.begin(), config.ropes.end(),
                     [](const RopeConfig& rope) { return ropescope::differs_by_row(rope); });
}

/// What divides the channels among the rows of ids; none for one row, which all channels follow (unless rows have settings
/// of their own).
std::optional<Scheme> scheme_of_axes(const DecoderConfig& config, const at::Tensor& ids) {
  if (ids.dim() != 3) {
    throw InternalError("position ids: expected [axes, batch or 1, tokens], found {} dimensions", ids.dim());
  }
  const int64_t rows = ids.size(0);
  if (rows == 1 && !(config.rope_axes && differs_by_row(config))) return std::nullopt;
  if (!config.rope_axes || (rows != 3 && rows != 1)) {
    throw InputError("position ids: expected {} of a {} decoder, found {} rows",
                     config.rope_axes ? "1 or 3 rows (frames, rows, columns)" : "one row", config.model_type,
                     rows);
  }
  return Scheme(config.native_scheme());
}

RotaryTable only_table(PassEncoding encoding) {
  if (encoding.rotary.size() != 1) {
    throw InternalError("one rotary table was asked for of a decoder whose layers rotate in several ways");
  }
  return std::move(encoding.rotary.front());
}

double length_of(const at::Tensor& position_ids) {
  if (position_ids.numel() == 0) throw InputError("position ids: expected at least one, found none");
  return position_ids.max().item<double>() + 1;
}

}  // namespace

bool rotates_alike(const DecoderConfig& config) {
  const EncodedLayer first = encoded_layer(config, 0);
  for (int64_t l = 1; l < config.num_hidden_layers; ++l) {
    if (!(encoded_layer(config, l) == first)) return false;
  }
  return true;
}

bool depends_on_length(const DecoderConfig& config) {
  for (int64_t l = 0; l < config.num_hidden_layers; ++l) {
    const RopeConfig* rope = config.rope_of(l);
    if (rope != nullptr && depends_on_length(*rope)) return true;
  }
  return false;
}

std::vector<int64_t> layers_with_qk(const DecoderConfig& config) {
  std::vector<int64_t> layers;
  for (int64_t l = 0; l < config.num_hidden_layers; ++l) {
    if (config.layer(l).has_qk()) layers.push_back(l);
  }
  return layers;
}

void require_qk(const DecoderConfig& config, const std::vector<int64_t>& layers) {
  for (const int64_t layer : layers) {
    if (layer < 0 || layer >= config.num_hidden_layers || config.layer(layer).has_qk()) continue;
    throw UsageError(
        "--layers: layer {} keeps a state by the delta rule and has neither queries nor keys that meet in a softmax. Try: "
        "layers {}",
        layer, fmt::join(layers_with_qk(config), ","));
  }
}

PassEncoding encoding_for(const DecoderConfig& config, const at::Tensor& position_ids, double length) {
  const double whole = std::max(length, length_of(position_ids));
  PassEncoding encoding;
  encoding.positions = position_ids.select(0, 0).to(at::kDouble);
  std::vector<std::pair<EncodedLayer, RotaryTable>> made;
  const std::optional<Scheme> axes = scheme_of_axes(config, position_ids);
  const int64_t layers = rotates_alike(config) ? 1 : config.num_hidden_layers;
  for (int64_t l = 0; l < layers; ++l) {
    const EncodedLayer layer = encoded_layer(config, l);
    auto known =
        std::find_if(made.begin(), made.end(), [&](const auto& entry) { return entry.first == layer; });
    if (known == made.end()) {
      known = made.emplace(made.end(), layer,
                           table_of(layer, config, axes ? &*axes : nullptr, position_ids, whole));
    }
    encoding.rotary.push_back(known->second);
  }
  return encoding;
}

PassEncoding plain_encoding(const DecoderConfig& config, int64_t tokens, int64_t first) {
  return encoding_for(config, at::arange(first, first + tokens, at::kDouble).view({1, 1, tokens}));
}

RotaryTable plain_rotary_table(const DecoderConfig& config, int64_t tokens, int64_t first) {
  return only_table(plain_encoding(config, tokens, first));
}

RotaryTable rotary_table_for(const DecoderConfig& config, const at::Tensor& position_ids) {
  return only_table(encoding_for(config, position_ids));
}

EncodedModel encoded_model(const DecoderConfig& config) {
  EncodedModel model{config.rope(),
                     config.head_dim,
                     config.num_attention_heads,
                     config.num_key_value_heads,
                     config.num_hidden_layers,
                     config.max_position_embeddings,
                     {}};
  EncodedLayer usual;
  usual.rope = config.rope();
  usual.head_dim = config.head_dim;
  usual.kv_heads = config.num_key_value_heads;
  if (rotates_alike(config) && encoded_layer(config, 0) == usual) return model;
  for (int64_t l = 0; l < config.num_hidden_layers; ++l) model.each.push_back(encoded_layer(config, l));
  return model;
}

RotaryTable packed_rotary_table(const DecoderConfig& config, const std::vector<int64_t>& segment_lengths) {
  if (segment_lengths.empty()) throw InternalError("packed_rotary_table: expected at least one text");
  std::vector<at::Tensor> ids;
  for (const int64_t length : segment_lengths) ids.push_back(at::arange(length, at::kDouble));
  return only_table(encoding_for(config, at::cat(ids).view({1, 1, -1})));
}

}  // namespace ropescope
