// Readers of config.json that families share.
#include <algorithm>
#include <cmath>

#include <fmt/ranges.h>

#include "ropescope/architectures/families/common.h"
#include "ropescope/core/errors.h"

namespace ropescope::families {

KindOf full_every(int64_t period, const char* rest) {
  return [period, rest](int64_t layer) { return (layer + 1) % period == 0 ? kFull : rest; };
}

int64_t period_or(const Json& config, const char* key, int64_t fallback, const std::string& what) {
  const int64_t period = json_integer_or(config, key, fallback, what);
  if (period < 1) throw InputError("{}: \"{}\": expected at least 1, found {}", what, key, period);
  return period;
}

std::vector<std::string> layer_kinds(const Json& config, const DecoderConfig& decoder,
                                     std::initializer_list<std::string_view> known, const KindOf& kind_of,
                                     const std::string& what) {
  constexpr const char* kKey = "layer_types";
  std::vector<std::string> kinds;
  const Json* given = json_find(config, kKey);
  if (given == nullptr) {
    for (int64_t layer = 0; layer < decoder.num_hidden_layers; ++layer) kinds.push_back(kind_of(layer));
    return kinds;
  }
  if (!given->is_array() || given->size() != static_cast<size_t>(decoder.num_hidden_layers)) {
    throw InputError("{}: \"{}\": expected a list of {} kinds, one a layer, found {}", what, kKey,
                     decoder.num_hidden_layers,
                     given->is_array() ? std::to_string(given->size()) : given->type_name());
  }
  for (const Json& kind : *given) {
    const std::string name = kind.is_string() ? kind.get<std::string>() : kind.dump().substr(0, 40);
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      throw UnsupportedModel("{}: \"{}\": expected one of {} for layer {}, found \"{}\"", what, kKey,
                             fmt::join(known, ", "), kinds.size(), name);
    }
    kinds.push_back(name);
  }
  return kinds;
}

std::vector<int64_t> integers(const Json& config, const char* key, const std::string& what) {
  const Json* given = json_find(config, key);
  if (given == nullptr) return {};
  if (!given->is_array()) {
    throw InputError("{}: \"{}\": expected a list of integers, found {}", what, key, given->type_name());
  }
  std::vector<int64_t> numbers;
  numbers.reserve(given->size());
  for (const Json& number : *given) numbers.push_back(json_integer(Json{{key, number}}, key, what));
  return numbers;
}

std::vector<bool> rotating_layers(const Json& config, const DecoderConfig& decoder, const std::string& what) {
  constexpr const char* kKey = "no_rope_layers";
  const std::vector<int64_t> given = integers(config, kKey, what);
  const auto layers = static_cast<size_t>(decoder.num_hidden_layers);
  std::vector<bool> rotates(layers, true);
  if (given.empty()) {
    const auto period = static_cast<size_t>(period_or(config, "no_rope_layer_interval", 4, what));
    for (size_t layer = 0; layer < layers; ++layer) rotates[layer] = (layer + 1) % period != 0;
    return rotates;
  }
  if (given.size() != layers) {
    throw InputError("{}: \"{}\": expected one number a layer ({}), found {}", what, kKey, layers,
                     given.size());
  }
  for (size_t layer = 0; layer < layers; ++layer) {
    if (given[layer] != 0 && given[layer] != 1) {
      throw InputError("{}: \"{}\": expected 0 or 1, found {}", what, kKey, given[layer]);
    }
    rotates[layer] = given[layer] == 1;
  }
  return rotates;
}

int64_t window_or(const Json& config, std::optional<int64_t> fallback, const std::string& what) {
  constexpr const char* kKey = "sliding_window";
  if (!config.contains(kKey)) return fallback.value_or(0);
  if (config[kKey].is_null()) return 0;
  const int64_t window = json_integer(config, kKey, what);
  if (window < 1) throw InputError("{}: \"{}\": expected at least 1, found {}", what, kKey, window);
  return window;
}

double positive_or(const Json& config, const char* key, double fallback, const std::string& what) {
  const double value = json_number_or(config, key, fallback, what);
  if (!std::isfinite(value) || value <= 0) {
    throw InputError("{}: \"{}\": expected a finite number above 0, found {}", what, key, value);
  }
  return value;
}

double softcap_or(const Json& config, const char* key, double fallback, const std::string& what) {
  if (!config.contains(key)) return fallback;
  return json_has(config, key) ? positive_or(config, key, fallback, what) : 0;
}

void expect_key(const Json& config, const char* key, const Json& expected, const std::string& what) {
  const Json* found = json_find(config, key);
  if (found == nullptr || *found == expected) return;
  throw UnsupportedModel("{}: \"{}\": expected {}, found {}", what, key, expected.dump(),
                         found->dump().substr(0, 80));
}

RopeConfig shared_rope(const Json& config, const DecoderConfig& decoder, const ConfigDefaults& defaults,
                       const std::string& what) {
  return read_rope(config, {defaults.rope_theta, defaults.partial_rotary_factor},
                   decoder.max_position_embeddings, what);
}

Json full_rope_parameters(const Json& config, const std::string& what) {
  Json settings = rope_parameters_of(config, kFull, what);
  const Json* scaling = json_find(config, "rope_scaling");
  if (scaling == nullptr || scaling->empty()) return settings;
  if (!scaling->is_object()) {
    throw InputError("{}: \"rope_scaling\": expected an object like {{\"rope_type\":\"linear\"}}", what);
  }
  settings.update(*scaling);
  return settings;
}

void set_ropes(DecoderConfig& decoder, RopeConfig full, RopeConfig sliding) {
  decoder.ropes = {std::move(full)};
  if (sliding != decoder.ropes.front()) decoder.ropes.push_back(std::move(sliding));
  const int of_sliding = static_cast<int>(decoder.ropes.size()) - 1;
  for (LayerShape& layer : decoder.layers) layer.rope = layer.kind == kSliding ? of_sliding : 0;
}

void read_attention_bias(const Json& config, DecoderConfig& decoder, bool fallback, const std::string& what) {
  decoder.attention_bias = json_bool_or(config, "attention_bias", fallback, what);
  decoder.attention_out_bias = decoder.attention_bias;
}

LayerShape plain_layer(const DecoderConfig& decoder) {
  LayerShape layer;
  layer.heads = decoder.num_attention_heads;
  layer.kv_heads = decoder.num_key_value_heads;
  layer.head_dim = decoder.head_dim;
  layer.value_dim = decoder.head_dim;
  layer.score_scale = 1 / std::sqrt(static_cast<double>(decoder.head_dim));
  layer.inner = decoder.intermediate_size;
  return layer;
}

void fill_layers(DecoderConfig& decoder, const std::vector<std::string>& kinds, int64_t window,
                 const std::string& what) {
  decoder.layers.assign(kinds.size(), plain_layer(decoder));
  for (size_t i = 0; i < kinds.size(); ++i) {
    LayerShape& layer = decoder.layers[i];
    layer.kind = kinds[i];
    if (kinds[i] != kSliding) continue;
    if (window < 1) {
      throw InputError(
          "{}: \"sliding_window\": expected a number of tokens for layer {} of the kind {}, found none", what,
          i, kSliding);
    }
    layer.window = window;
  }
}

double latent_score_scale(int64_t head_dim, const RopeConfig& rope) {
  const double plain = 1 / std::sqrt(static_cast<double>(head_dim));
  const double all_dim = rope.mscale_all_dim.value_or(0);
  if (rope.type != RopeType::kYarn || rope.factor <= 1 || all_dim == 0) return plain;
  const double mscale = 0.1 * all_dim * std::log(rope.factor) + 1;
  return plain * mscale * mscale;
}

void fill_qwen_layers(const Json& config, DecoderConfig& decoder, int64_t first_window_layer,
                      bool kinds_are_told, const std::string& what) {
  int64_t window = 0;
  if (json_bool_or(config, "use_sliding_window", false, what)) window = window_or(config, 4096, what);
  // A window that no run of the trained length fills is none.
  if (window == 0 || window >= decoder.max_position_embeddings) return fill_equal_layers(decoder);
  const KindOf kind_of = [&](int64_t layer) { return layer >= first_window_layer ? kSliding : kFull; };
  const Json none = Json::object();
  fill_layers(decoder, layer_kinds(kinds_are_told ? config : none, decoder, {kFull, kSliding}, kind_of, what),
              window, what);
}

}  // namespace ropescope::families

namespace ropescope {

void fill_equal_layers(DecoderConfig& config) {
  config.layers.assign(static_cast<size_t>(config.num_hidden_layers), families::plain_layer(config));
}

}  // namespace ropescope
