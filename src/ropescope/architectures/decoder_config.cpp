#include "ropescope/architectures/decoder_config.h"

#include <algorithm>

#include <fmt/ranges.h>

#include "ropescope/architectures/architecture.h"
#include "ropescope/architectures/decoder_check.h"
#include "ropescope/core/errors.h"
#include "ropescope/weights/size_count.h"

namespace ropescope {

namespace {

void refuse_vision_language(const Json& config, const std::string& type, const std::string& what) {
  const bool nested = json_has(config, "text_config") || json_has(config, "vision_config");
  const bool original = json_has(config, "mm_vision_tower");
  if (nested || original || type.find("llava") != std::string::npos) {
    throw UnsupportedModel(
        "{}: a vision-language checkpoint (model_type \"{}\") whose language model is not known; expected one of the "
        "decoder families. Try: the language model that it was made from.",
        what, type);
  }
}

/// The first of `architectures`.
std::string class_of(const Json& config) {
  const Json* names = json_find(config, "architectures");
  const bool named = names != nullptr && names->is_array() && !names->empty() && names->front().is_string();
  return named ? names->front().get<std::string>() : "";
}

const Architecture& family_of(const Json& config, const std::string& what) {
  const std::string type = json_string_or(config, "model_type", "", what);
  const std::string class_name = class_of(config);
  refuse_vision_language(config, type, what);
  const Architecture* family = find_architecture(type, class_name);
  if (family != nullptr) return *family;
  std::vector<std::string> known;
  for (const Architecture* one : architectures()) known.push_back(one->model_types.front());
  throw UnsupportedModel("{}: model_type: expected one of {}, found \"{}\"{}", what, fmt::join(known, ", "),
                         type, class_name.empty() ? "" : " (" + class_name + ")");
}

/// The language model's keys lie beside `vision_config` (Qwen2-VL and Qwen2.5-VL as published).
Json flat_text_part(const Json& config, const std::string& what) {
  json_integer(config, "hidden_size", what);  // a config that says nothing of its decoder means none
  Json text = config;
  for (const char* key : {"model_type", "architectures", "vision_config"}) text.erase(key);
  return text;
}

/// The text part of a vision-language config whose decoder is one of the families', with what the whole says of it;
/// null: it is none.
Json text_part(const Json& config, const std::string& what, std::string& key) {
  const std::string outer = json_string_or(config, "model_type", "", what);
  const Architecture* family = find_wrapped_architecture(outer);
  if (family == nullptr) return {};
  const bool flat = !json_has(config, "text_config") && (outer == "qwen2_vl" || outer == "qwen2_5_vl");
  key = flat ? "" : json_has(config, "text_config") ? "text_config" : "llm_config";
  if (!flat && !json_has(config, key.c_str())) return {};
  Json text = flat ? flat_text_part(config, what) : config[key];
  if (!text.is_object()) throw InputError("{}: {}: expected a JSON object", what, key);
  const bool named = json_has(text, "model_type") || (key == "llm_config" && !class_of(text).empty());
  if (!named) text["model_type"] = family->model_types.front();
  const Json defaults = nested_text_defaults(json_string_or(text, "model_type", "", what));
  for (const auto& [name, value] : defaults.items()) {
    if (!json_has(text, name.c_str())) text[name] = value;
  }
  // InternVL's own code builds its decoder from `llm_config` alone.
  const bool own = key == "llm_config";
  for (const char* name : {"tie_word_embeddings", "quantization_config", "eos_token_id", "bos_token_id"}) {
    if (json_has(config, name) && !(own && json_has(text, name))) text[name] = config[name];
  }
  return text;
}

void refuse_quantization(const Json& config, const Architecture& family, const std::string& what) {
  const Json* quantization = json_find(config, "quantization_config");
  if (quantization == nullptr) return;
  const bool readable = !family.quantization.empty() &&
                        json_string_or(*quantization, "quant_method", "", what) == family.quantization;
  if (readable) return;
  throw UnsupportedModel(
      "{}: \"quantization_config\": weights quantised for another runtime cannot be read. Try: "
      "the original checkpoint or a GGUF file.",
      what);
}

std::vector<int64_t> read_token_ids(const Json& config, const char* key, const std::vector<int64_t>& fallback,
                                    const std::string& what) {
  std::vector<int64_t> ids;
  const auto found = config.find(key);
  if (found == config.end()) {
    ids = fallback;
  } else if (found->is_array()) {
    for (const Json& id : *found) ids.push_back(json_integer(Json{{key, id}}, key, what));
  } else if (!found->is_null()) {
    ids.push_back(json_integer(config, key, what));
  }
  return ids;
}

/// Ids outside the vocabulary (-1 for "none") never come out of a decoder.
void drop_outside(std::vector<int64_t>& ids, int64_t vocab_size) {
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  const auto outside = [&](int64_t id) { return id < 0 || id >= vocab_size; };
  ids.erase(std::remove_if(ids.begin(), ids.end(), outside), ids.end());
}

/// A size that has to be there unless the class assumes one.
int64_t read_size(const Json& config, const char* key, std::optional<int64_t> fallback,
                  const std::string& what) {
  return fallback ? json_integer_or(config, key, *fallback, what) : json_integer(config, key, what);
}

void read_heads(const Json& config, const ConfigDefaults& defaults, DecoderConfig& decoder,
                const std::string& what) {
  constexpr const char* kKeys = "num_key_value_heads";
  decoder.num_attention_heads = read_size(config, "num_attention_heads", defaults.num_attention_heads, what);
  // A null is as many as query heads, whatever the class assumes of an absent key.
  const std::optional<int64_t> assumed = config.contains(kKeys) ? std::nullopt : defaults.num_key_value_heads;
  decoder.num_key_value_heads =
      json_integer_or(config, kKeys, assumed.value_or(decoder.num_attention_heads), what);
  check_size(decoder.num_attention_heads, "num_attention_heads", kLargestSize, what);
  if (defaults.head_dim == 0) {
    decoder.head_dim = 1;  // the family's reader knows
  } else if (json_has(config, "head_dim")) {
    decoder.head_dim = json_integer(config, "head_dim", what);
  } else if (defaults.head_dim && !config.contains("head_dim")) {
    decoder.head_dim = *defaults.head_dim;
  } else if (decoder.hidden_size % decoder.num_attention_heads == 0) {
    decoder.head_dim = decoder.hidden_size / decoder.num_attention_heads;
  } else {
    throw InputError("{}: expected num_attention_heads to divide hidden_size, found {} and {}", what,
                     decoder.num_attention_heads, decoder.hidden_size);
  }
}

GateActivation read_activation(const Json& config, const ConfigDefaults& defaults, const std::string& what) {
  const std::string expected = activation_name(defaults.activation);
  std::string name = json_string_or(config, defaults.activation_key, expected, what);
  if (name == "swish") name = "silu";  // two names of one function
  if (name != expected) {
    throw UnsupportedModel("{}: \"{}\": expected {}, found {}", what, defaults.activation_key, expected,
                           name);
  }
  return defaults.activation;
}

/// What all families have.
DecoderConfig read_common(const Json& config, const Architecture& family, const std::string& what) {
  const ConfigDefaults& defaults = family.defaults;
  DecoderConfig decoder;
  decoder.model_type = family.name;
  decoder.vocab_size = read_size(config, "vocab_size", defaults.vocab_size, what);
  decoder.hidden_size = read_size(config, "hidden_size", defaults.hidden_size, what);
  decoder.intermediate_size =
      read_size(config, defaults.intermediate_size_key, defaults.intermediate_size, what);
  decoder.num_hidden_layers = read_size(config, "num_hidden_layers", defaults.num_hidden_layers, what);
  read_heads(config, defaults, decoder, what);
  decoder.rms_norm_eps = json_number_or(config, defaults.norm_eps_key, defaults.norm_eps, what);
  decoder.max_position_embeddings =
      json_integer_or(config, "max_position_embeddings", defaults.max_position_embeddings, what);
  decoder.tie_word_embeddings =
      json_bool_or(config, "tie_word_embeddings", defaults.tie_word_embeddings, what);
  decoder.activation = read_activation(config, defaults, what);
  check_decoder_sizes(decoder, what);
  decoder.eos_token_ids = read_token_ids(config, "eos_token_id", defaults.eos_token_ids, what);
  drop_outside(decoder.eos_token_ids, decoder.vocab_size);
  std::vector<int64_t> assumed;
  if (defaults.bos_token_id) assumed.push_back(*defaults.bos_token_id);
  std::vector<int64_t> bos = read_token_ids(config, "bos_token_id", assumed, what);
  drop_outside(bos, decoder.vocab_size);
  if (!bos.empty()) decoder.bos_token_id = bos.front();
  return decoder;
}

}  // namespace

std::string DecoderConfig::native_scheme() const {
  if (!rope_axes) return "vanilla";
  const RopeAxes& axes = *rope_axes;
  std::string text = fmt::format("{}:sections={}/{}/{}", axes.interleaved ? "mrope-interleave" : "mrope",
                                 axes.t, axes.h, axes.w);
  // Only where it is not what the scheme assumes.
  if (axes.frame_step != (axes.interleaved ? 1 : 2)) {
    text += fmt::format(",temporal_stride={}", axes.frame_step);
  }
  return text;
}

Json nested_text_defaults(const std::string& model_type) {
  if (model_type == "llama") {
    return {{"vocab_size", 32000},     {"hidden_size", 4096},       {"intermediate_size", 11008},
            {"num_hidden_layers", 32}, {"num_attention_heads", 32}, {"max_position_embeddings", 2048},
            {"rms_norm_eps", 1e-6}};
  }
  if (model_type == "mistral") {
    return {{"vocab_size", 32000},     {"hidden_size", 4096},       {"intermediate_size", 14336},
            {"num_hidden_layers", 32}, {"num_attention_heads", 32}, {"max_position_embeddings", 131072},
            {"rms_norm_eps", 1e-6}};
  }
  if (model_type == "qwen2") {
    return {{"vocab_size", 151936},    {"hidden_size", 4096},       {"intermediate_size", 22016},
            {"num_hidden_layers", 32}, {"num_attention_heads", 32}, {"max_position_embeddings", 32768},
            {"rms_norm_eps", 1e-6}};
  }
  return Json::object();
}

DecoderConfig parse_decoder_config(const Json& config, const std::string& what) {
  if (!config.is_object()) throw InputError("{}: expected a JSON object", what);
  std::string key;
  if (const Json text = text_part(config, what, key); !text.is_null()) {
    return parse_decoder_config(text, key.empty() ? what : what + ": " + key);
  }
  const Architecture& family = family_of(config, what);
  refuse_quantization(config, family, what);
  DecoderConfig decoder = read_common(config, family, what);
  family.parse(config, decoder, what);
  check_decoder_config(decoder, what);
  return decoder;
}

void add_generation_end_tokens(const std::filesystem::path& folder, DecoderConfig& decoder) {
  const std::filesystem::path generation_path = folder / "generation_config.json";
  if (!std::filesystem::exists(generation_path)) return;
  const std::string what = generation_path.string();
  const Json generation = read_json_file(generation_path);
  if (!generation.is_object()) throw InputError("{}: expected a JSON object", what);
  const std::vector<int64_t> ids = read_token_ids(generation, "eos_token_id", {}, what);
  decoder.eos_token_ids.insert(decoder.eos_token_ids.end(), ids.begin(), ids.end());
  drop_outside(decoder.eos_token_ids, decoder.vocab_size);
}

}  // namespace ropescope
