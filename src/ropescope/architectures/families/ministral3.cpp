#include "ropescope/architectures/families/common.h"
#include "ropescope/architectures/families/families.h"
#include "ropescope/architectures/gguf_keys.h"
#include "ropescope/architectures/gguf_names.h"
#include "ropescope/architectures/shortest_decimal.h"

namespace ropescope::families {

namespace ministral3_family {
namespace {

constexpr const char* kBeta = "llama_4_scaling_beta";

/// What the class assumes without rope_parameters.
Json default_settings() {
  return {{"rope_type", "yarn"},
          {"rope_theta", 1e6},
          {"factor", 16.0},
          {"original_max_position_embeddings", 16384},
          {"beta_fast", 32.0},
          {"beta_slow", 1.0},
          {"mscale_all_dim", 1.0},
          {"mscale", 1.0},
          {kBeta, 0.1}};
}

void parse(const Json& config, DecoderConfig& decoder, const std::string& what) {
  Json own = config;
  const bool old = json_has(config, "rope_scaling") && !config["rope_scaling"].empty();
  const char* key = old ? "rope_scaling" : "rope_parameters";
  if (!json_has(own, key)) own[key] = default_settings();
  Json& settings = own[key];
  std::optional<double> beta;
  if (settings.is_object()) {
    if (json_has(settings, kBeta)) beta = json_number(settings, kBeta, what);
    // Keys of its own beside those of yarn.
    settings.erase(kBeta);
    settings.erase("max_position_embeddings");
  }
  decoder.ropes = {shared_rope(own, decoder, kMinistral3.defaults, what)};
  const int64_t window = window_or(config, std::nullopt, what);
  const auto layers = static_cast<size_t>(decoder.num_hidden_layers);
  fill_layers(decoder, std::vector<std::string>(layers, window > 0 ? kSliding : kFull), window, what);
  if (!beta) return;
  const int64_t length =
      decoder.rope().original_max_position_embeddings.value_or(decoder.max_position_embeddings);
  for (LayerShape& layer : decoder.layers) {
    layer.temperature = QueryTemperature{*beta, static_cast<double>(length), 0};
  }
}

void write(const DecoderConfig& decoder, Json& config) {
  write_rope(decoder, config);
  const auto& temperature = decoder.layer(0).temperature;
  if (temperature) config["rope_parameters"][kBeta] = temperature->slope;
  config["sliding_window"] = window_json(decoder);
}

DecoderConfig parse_gguf_config(const GgufContents& contents, std::span<const std::byte> bytes,
                                const std::string& what) {
  const GgufFile file(contents, bytes, what);
  Json config = gguf_common_json(file, kMinistral3.name);
  config["rope_parameters"] = to_json(gguf_whole_rope(file, config["head_dim"], {.all_dim_of_log = 1}));
  if (file.keys.has("attention.temperature_scale")) {
    config["rope_parameters"][kBeta] =
        shortest_decimal(file.keys.number_or("attention.temperature_scale", 0));
  }
  return parse_decoder_config(config, what);
}

}  // namespace
}  // namespace ministral3_family

const Architecture kMinistral3 = {
    .name = "ministral3",
    .summary = "Rotation by halves under yarn; queries grow with the logarithm of their position.",
    .source = "Ministral 3 (huggingface.co/mistralai/Ministral-3-8B-Base-2512)",
    .model_types = {"ministral3"},
    .classes = {"Ministral3ForCausalLM", "Ministral3Model"},
    .wrappers = {"mistral3"},
    .trains = true,
    .defaults = {.max_position_embeddings = 262144,
                 .num_key_value_heads = 8,
                 .head_dim = 128,
                 .norm_eps = 1e-5,
                 .bos_token_id = 1,
                 .eos_token_ids = {2},
                 .vocab_size = 131072,
                 .hidden_size = 4096,
                 .intermediate_size = 14336,
                 .num_hidden_layers = 34,
                 .num_attention_heads = 32},
    .parse = ministral3_family::parse,
    .write = ministral3_family::write,
    .tensors = llama_rules,
    .gguf = {{"mistral3", ministral3_family::parse_gguf_config, gguf_llama_role}},
};

}  // namespace ropescope::families
