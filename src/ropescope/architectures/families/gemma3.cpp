#include <cmath>

#include "ropescope/architectures/families/common.h"
#include "ropescope/architectures/families/families.h"
#include "ropescope/architectures/gguf_keys.h"
#include "ropescope/architectures/shortest_decimal.h"

namespace ropescope::families {

namespace gemma3_family {
namespace {

int64_t pattern_of(const Json& config, const std::string& what) {
  const char* key =
      json_has(config, "sliding_window_pattern") ? "sliding_window_pattern" : "_sliding_window_pattern";
  return period_or(config, key, 6, what);
}

void parse(const Json& config, DecoderConfig& decoder, const std::string& what) {
  read_attention_bias(config, decoder, false, what);
  expect_key(config, "use_bidirectional_attention", false, what);
  decoder.norm = NormKind::kRmsAddOne;
  decoder.embedding_scale = std::sqrt(static_cast<double>(decoder.hidden_size));
  decoder.logit_softcap = softcap_or(config, "final_logit_softcapping", 0, what);
  fill_layers(decoder,
              layer_kinds(config, decoder, {kFull, kSliding}, full_every(pattern_of(config, what)), what),
              window_or(config, 4096, what), what);
  const double scalar = positive_or(config, "query_pre_attn_scalar", 256, what);
  for (LayerShape& layer : decoder.layers) {
    layer.qk_norm = QkNorm::kPerHead;
    layer.score_scale = 1 / std::sqrt(scalar);  // attn_logit_softcapping is not applied, even where it is set
  }
  const RopeDefaults full = {json_number_or(config, "rope_theta", kGemma3.defaults.rope_theta, what), 1};
  const RopeDefaults sliding = {json_number_or(config, "rope_local_base_freq", 10000, what), 1};
  const int64_t length = decoder.max_position_embeddings;
  set_ropes(decoder, read_rope_of_kind(full_rope_parameters(config, what), full, length, what),
            read_rope_of_kind(rope_parameters_of(config, kSliding, what), sliding, length, what));
}

void write(const DecoderConfig& decoder, Json& config) {
  write_ropes_by_kind(decoder, config);
  config["attention_bias"] = decoder.attention_bias;
  config["final_logit_softcapping"] = softcap_json(decoder.logit_softcap);
  config["query_pre_attn_scalar"] = inverse_square(decoder.layer(0).score_scale);
  config["layer_types"] = kinds_json(decoder);
  config["sliding_window"] = window_json(decoder);
}

DecoderConfig parse_gguf_config(const GgufContents& contents, std::span<const std::byte> bytes,
                                const std::string& what) {
  const GgufFile file(contents, bytes, what);
  Json config = gguf_common_json(file, kGemma3.name);
  RopeConfig sliding;
  sliding.theta = shortest_decimal(file.keys.number_or("rope.freq_base_swa", sliding.theta));
  config["rope_parameters"] = {{kFull, to_json(gguf_rope(file, config["head_dim"]))},
                               {kSliding, to_json(sliding)}};
  config["query_pre_attn_scalar"] = gguf_gemma_scalar(file, config, 62, {18, 26, 32, 34, 48, 62});
  const int64_t window = file.keys.integer_or("attention.sliding_window", 0);
  config["layer_types"] = gguf_kinds(file, window > 0 ? 6 : 1);
  if (window > 0) config["sliding_window"] = window;
  if (file.keys.has("final_logit_softcapping")) {
    config["final_logit_softcapping"] = shortest_decimal(file.keys.number_or("final_logit_softcapping", 0));
  }
  return parse_decoder_config(config, what);
}

}  // namespace
}  // namespace gemma3_family

const Architecture kGemma3 = {
    .name = "gemma3_text",
    .summary =
        "Rotation by halves; layers with a window have a base of their own, every sixth sees all and is scaled.",
    .source = "Gemma 3 (arXiv 2503.19786)",
    .model_types = {"gemma3_text"},
    .classes = {"Gemma3ForCausalLM", "Gemma3TextModel"},
    .wrappers = {"gemma3"},
    .trains = true,
    .defaults = {.max_position_embeddings = 131072,
                 .num_key_value_heads = 4,
                 .head_dim = 256,
                 .tie_word_embeddings = true,
                 .rope_theta = 1e6,
                 .activation = GateActivation::kGeluTanh,
                 .activation_key = "hidden_activation",
                 .bos_token_id = 2,
                 .eos_token_ids = {1},
                 .vocab_size = 262208,
                 .hidden_size = 2304,
                 .intermediate_size = 9216,
                 .num_hidden_layers = 26,
                 .num_attention_heads = 8},
    .parse = gemma3_family::parse,
    .write = gemma3_family::write,
    .tensors = gemma_rules,
    .gguf = {{"gemma3", gemma3_family::parse_gguf_config, gemma_gguf_role}},
};

}  // namespace ropescope::families
