#include "ropescope/weights/decoder_config.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/weights/checkpoint.h"
#include "ropescope/weights/gguf.h"
#include "ropescope/weights/gguf_config.h"
#include "ropescope/weights/llava_config.h"
#include "ropescope/weights/size_count.h"
#include "ropescope/weights/warn_once.h"

namespace ropescope {

namespace fs = std::filesystem;

namespace {

/// Sizes stay below this, so that the product of any two fits in int64.
constexpr int64_t kLargestSize = INT32_MAX;

/// What the class of a checkpoint's config assumes where a key is absent.
struct Defaults {
  std::string model_type;
  int64_t max_position_embeddings;
  std::optional<int64_t> num_key_value_heads;  ///< nothing: as many as query heads
  std::optional<int64_t> bos_token_id, eos_token_id;
  bool sliding_window_by_default;
};

/// A Mistral decoder without its sliding window is a Llama decoder.
const std::array<Defaults, 3> kDefaults = {{
    {"llama", 2048, std::nullopt, 1, 2, false},
    {"qwen2", 32768, std::nullopt, std::nullopt, std::nullopt, false},
    {"mistral", 131072, 8, 1, 2, true},
}};

void refuse_vision_language(const Json& config, const std::string& type, const std::string& what) {
  const bool nested = json_has(config, "text_config") || json_has(config, "vision_config");
  const bool original = json_has(config, "mm_vision_tower");
  if (nested || original || type.find("llava") != std::string::npos) {
    throw UnsupportedModel(
        "{}: a vision-language checkpoint (model_type \"{}\"); expected a Llama or Qwen2 decoder. Try: the "
        "language model that it was made from.",
        what, type);
  }
}

const Defaults& defaults_of(const Json& config, const std::string& what) {
  std::string type = json_string_or(config, "model_type", "", what);
  std::string architecture;
  if (const auto found = config.find("architectures");
      found != config.end() && found->is_array() && !found->empty() && found->front().is_string()) {
    architecture = found->front().get<std::string>();
  }
  refuse_vision_language(config, type, what);
  if (type.empty()) {
    if (architecture == "LlamaForCausalLM" || architecture == "LLaMAForCausalLM") type = "llama";
    if (architecture == "Qwen2ForCausalLM" || architecture == "Qwen2Model") type = "qwen2";
    if (architecture == "MistralForCausalLM" || architecture == "MistralModel") type = "mistral";
    if (architecture == "LlamaModel") type = "llama";
  }
  for (const Defaults& defaults : kDefaults) {
    if (defaults.model_type == type) return defaults;
  }
  throw UnsupportedModel("{}: model_type: expected llama, qwen2, or mistral, found \"{}\"{}", what, type,
                         architecture.empty() ? "" : " (" + architecture + ")");
}

/// Layers that see a window only would need another mask.
void refuse_sliding_window(const Json& config, const DecoderConfig& decoder, const Defaults& defaults,
                           const std::string& what) {
  const bool mistral = defaults.sliding_window_by_default;
  const bool used = mistral || json_bool_or(config, "use_sliding_window", false, what);
  if (!used) return;
  const bool given = config.contains("sliding_window");
  if (given && config["sliding_window"].is_null()) return;
  const int64_t window = json_integer_or(config, "sliding_window", 4096, what);
  if (window >= decoder.max_position_embeddings) return;
  const int64_t first = mistral ? 0 : json_integer_or(config, "max_window_layers", 28, what);
  if (first >= decoder.num_hidden_layers && !json_has(config, "layer_types")) return;
  throw UnsupportedModel(
      "{}: layers from {} on attend within a sliding window of {} tokens, which is not supported. Try: a "
      "checkpoint without it, or \"sliding_window\": null to let them see all tokens.",
      what, first, window);
}

std::vector<int64_t> read_token_ids(const Json& config, const char* key, std::optional<int64_t> fallback,
                                    const std::string& what) {
  std::vector<int64_t> ids;
  const auto found = config.find(key);
  if (found == config.end()) {
    if (fallback) ids.push_back(*fallback);
  } else if (found->is_array()) {
    for (const Json& id : *found) ids.push_back(json_integer(Json{{key, id}}, key, what));
  } else if (!found->is_null()) {
    ids.push_back(json_integer(config, key, what));
  }
  return ids;
}

RopeConfig read_rope(const Json& config, int64_t max_position_embeddings, const std::string& what) {
  RopeConfig base;
  base.theta = json_number_or(config, "rope_theta", base.theta, what);
  base.partial_rotary_factor = json_number_or(config, "partial_rotary_factor", 1.0, what);
  Json scaling;
  if (json_has(config, "rope_parameters")) scaling = config["rope_parameters"];
  if (json_has(config, "rope_scaling") && !config["rope_scaling"].empty()) scaling = config["rope_scaling"];
  if (scaling.is_object()) {
    // As transformers has it: the top-level length wins, and yarn may leave the factor to the two lengths.
    constexpr const char* kLength = "original_max_position_embeddings";
    if (json_has(config, kLength)) scaling[kLength] = config[kLength];
    const std::string type =
        json_string_or(scaling, json_has(scaling, "rope_type") ? "rope_type" : "type", "", what);
    if (type == "yarn" && !json_has(scaling, "factor") && json_has(scaling, kLength)) {
      const int64_t length = json_integer(scaling, kLength, what);
      scaling["factor"] = static_cast<double>(max_position_embeddings) / static_cast<double>(length);
    }
  }
  RopeConfig rope = parse_rope_scaling(scaling, base, what);
  if (rope.type == RopeType::kDynamic && rope.original_max_position_embeddings) {
    warn_once(
        fmt::format("{}: the rope type \"dynamic\" goes by max_position_embeddings ({}); "
                    "original_max_position_embeddings is ignored",
                    what, max_position_embeddings));
    rope.original_max_position_embeddings.reset();
  }
  if (!std::isfinite(rope.theta) || rope.theta <= 0) {
    throw InputError("{}: \"rope_theta\": expected a finite number above 0, found {}", what, rope.theta);
  }
  if (!(rope.partial_rotary_factor > 0 && rope.partial_rotary_factor <= 1)) {
    throw InputError("{}: \"partial_rotary_factor\": expected a number in (0, 1], found {}", what,
                     rope.partial_rotary_factor);
  }
  return rope;
}

/// Ids outside the vocabulary (-1 for "none") never come out of a decoder.
void drop_outside(std::vector<int64_t>& ids, int64_t vocab_size) {
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  const auto outside = [&](int64_t id) { return id < 0 || id >= vocab_size; };
  ids.erase(std::remove_if(ids.begin(), ids.end(), outside), ids.end());
}

}  // namespace

Json decoder_sizes_json(const DecoderConfig& config) {
  return {{"model_type", config.model_type},
          {"vocab_size", config.vocab_size},
          {"hidden_size", config.hidden_size},
          {"intermediate_size", config.intermediate_size},
          {"num_hidden_layers", config.num_hidden_layers},
          {"num_attention_heads", config.num_attention_heads},
          {"num_key_value_heads", config.num_key_value_heads},
          {"head_dim", config.head_dim},
          {"rms_norm_eps", config.rms_norm_eps},
          {"max_position_embeddings", config.max_position_embeddings},
          {"tie_word_embeddings", config.tie_word_embeddings},
          {"hidden_act", config.hidden_act}};
}

void check_decoder_config(const DecoderConfig& config, const std::string& what) {
  constexpr int64_t kMostLayers = 100'000;
  check_size(config.vocab_size, "vocab_size", kLargestSize, what);
  check_size(config.hidden_size, "hidden_size", kLargestSize, what);
  check_size(config.intermediate_size, "intermediate_size", kLargestSize, what);
  check_size(config.num_hidden_layers, "num_hidden_layers", kMostLayers, what);
  check_size(config.num_attention_heads, "num_attention_heads", kLargestSize, what);
  check_size(config.num_key_value_heads, "num_key_value_heads", kLargestSize, what);
  check_size(config.head_dim, "head_dim", kLargestSize, what);
  check_size(config.max_position_embeddings, "max_position_embeddings", INT64_MAX / 2, what);
  if (config.num_attention_heads % config.num_key_value_heads != 0) {
    throw InputError("{}: expected num_key_value_heads to divide num_attention_heads, found {} and {}", what,
                     config.num_key_value_heads, config.num_attention_heads);
  }
  if (config.num_attention_heads > kLargestSize / config.head_dim) {
    throw InputError("{}: {} heads of size {} are too many numbers a token", what, config.num_attention_heads,
                     config.head_dim);
  }
  if (!(config.rms_norm_eps > 0 && config.rms_norm_eps < 1)) {
    throw InputError("{}: rms_norm_eps: expected a number between 0 and 1, found {}", what,
                     config.rms_norm_eps);
  }
}

DecoderConfig parse_decoder_config(const Json& config, const std::string& what) {
  if (!config.is_object()) throw InputError("{}: expected a JSON object", what);
  const Defaults& defaults = defaults_of(config, what);
  const bool qwen2 = defaults.model_type == "qwen2";
  if (json_has(config, "quantization_config")) {
    throw UnsupportedModel(
        "{}: \"quantization_config\": weights quantised for another runtime cannot be read. Try: "
        "the original checkpoint or a GGUF file.",
        what);
  }
  DecoderConfig decoder;
  decoder.model_type = qwen2 ? "qwen2" : "llama";
  decoder.vocab_size = json_integer(config, "vocab_size", what);
  decoder.hidden_size = json_integer(config, "hidden_size", what);
  decoder.intermediate_size = json_integer(config, "intermediate_size", what);
  decoder.num_hidden_layers = json_integer(config, "num_hidden_layers", what);
  decoder.num_attention_heads = json_integer(config, "num_attention_heads", what);
  const bool kv_is_null = config.contains("num_key_value_heads");
  const int64_t kv_default = kv_is_null ? decoder.num_attention_heads
                                        : defaults.num_key_value_heads.value_or(decoder.num_attention_heads);
  decoder.num_key_value_heads = json_integer_or(config, "num_key_value_heads", kv_default, what);
  check_size(decoder.num_attention_heads, "num_attention_heads", kLargestSize, what);
  if (json_has(config, "head_dim")) {
    decoder.head_dim = json_integer(config, "head_dim", what);
  } else if (decoder.hidden_size % decoder.num_attention_heads == 0) {
    decoder.head_dim = decoder.hidden_size / decoder.num_attention_heads;
  } else {
    throw InputError("{}: expected num_attention_heads to divide hidden_size, found {} and {}", what,
                     decoder.num_attention_heads, decoder.hidden_size);
  }
  decoder.rms_norm_eps = json_number_or(config, "rms_norm_eps", decoder.rms_norm_eps, what);
  decoder.max_position_embeddings =
      json_integer_or(config, "max_position_embeddings", defaults.max_position_embeddings, what);
  decoder.tie_word_embeddings = json_bool_or(config, "tie_word_embeddings", false, what);
  const bool llama = defaults.model_type == "llama";
  decoder.attention_bias = qwen2 || (llama && json_bool_or(config, "attention_bias", false, what));
  decoder.attention_out_bias = llama && decoder.attention_bias;
  decoder.mlp_bias = llama && json_bool_or(config, "mlp_bias", false, what);
  decoder.hidden_act = json_string_or(config, "hidden_act", "silu", what);
  if (decoder.hidden_act == "swish") decoder.hidden_act = "silu";  // two names of one function
  if (decoder.hidden_act != "silu") {
    throw UnsupportedModel("{}: \"hidden_act\": expected silu, found {}", what, decoder.hidden_act);
  }
  check_decoder_config(decoder, what);
  refuse_sliding_window(config, decoder, defaults, what);
  decoder.rope = read_rope(config, decoder.max_position_embeddings, what);
  decoder.eos_token_ids = read_token_ids(config, "eos_token_id", defaults.eos_token_id, what);
  drop_outside(decoder.eos_token_ids, decoder.vocab_size);
  std::vector<int64_t> bos = read_token_ids(config, "bos_token_id", defaults.bos_token_id, what);
  drop_outside(bos, decoder.vocab_size);
  if (!bos.empty()) decoder.bos_token_id = bos.front();
  return decoder;
}

namespace {

DecoderConfig read_gguf(const fs::path& path) {
  const MappedFile file(path);
  return gguf_decoder_config(parse_gguf(file.bytes(), path.string()), file.bytes(), path.string());
}

DecoderConfig read_folder(const fs::path& folder) {
  const fs::path config_path = folder / "config.json";
  const Json config = read_json_file(config_path);
  DecoderConfig decoder = is_llava_config(config) ? parse_llava_decoder_config(config, config_path.string())
                                                  : parse_decoder_config(config, config_path.string());
  add_generation_end_tokens(folder, decoder);
  return decoder;
}

/// The only GGUF file of a folder, if there is exactly one.
std::optional<fs::path> only_gguf_file(const fs::path& folder) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file() && entry.path().extension() == ".gguf") found.push_back(entry.path());
  }
  if (found.size() != 1) return std::nullopt;
  return found.front();
}

}  // namespace

void add_generation_end_tokens(const fs::path& folder, DecoderConfig& decoder) {
  const fs::path generation_path = folder / "generation_config.json";
  if (!fs::exists(generation_path)) return;
  const std::string what = generation_path.string();
  const Json generation = read_json_file(generation_path);
  if (!generation.is_object()) throw InputError("{}: expected a JSON object", what);
  const std::vector<int64_t> ids = read_token_ids(generation, "eos_token_id", std::nullopt, what);
  decoder.eos_token_ids.insert(decoder.eos_token_ids.end(), ids.begin(), ids.end());
  drop_outside(decoder.eos_token_ids, decoder.vocab_size);
}

DecoderConfig read_decoder_config(const fs::path& model) {
  std::error_code code;
  check_model_is_there(model);
  if (fs::is_directory(model, code)) {
    if (fs::exists(model / "config.json")) return read_folder(model);
    if (const auto file = only_gguf_file(model)) return read_gguf(*file);
    throw InputError("{}: expected a folder with config.json, or with one .gguf file", model.string());
  }
  if (is_gguf_file(model)) return read_gguf(model);
  const fs::path folder = model.has_parent_path() ? model.parent_path() : fs::path(".");
  if (fs::exists(folder / "config.json")) return read_folder(folder);
  throw InputError("{}: expected a .gguf file, or a weight file with config.json beside it", model.string());
}

}  // namespace ropescope
