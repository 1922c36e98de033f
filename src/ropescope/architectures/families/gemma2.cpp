#include <cmath>

#include "ropescope/architectures/families/common.h"
#include "ropescope/architectures/families/families.h"
#include "ropescope/architectures/gguf_keys.h"
#include "ropescope/architectures/shortest_decimal.h"

namespace ropescope::families {

namespace gemma2_family {
namespace {

void parse(const Json& config, DecoderConfig& decoder, const std::string& what) {
  read_attention_bias(config, decoder, false, what);
  expect_key(config, "use_bidirectional_attention", false, what);
  decoder.norm = NormKind::kRmsAddOne;
  decoder.embedding_scale = std::sqrt(static_cast<double>(decoder.hidden_size));
  decoder.logit_softcap = softcap_or(config, "final_logit_softcapping", 30, what);
  decoder.ropes = {shared_rope(config, decoder, kGemma2.defaults, what)};
  fill_layers(decoder, layer_kinds(config, decoder, {kFull, kSliding}, full_every(2), what),
              window_or(config, 4096, what), what);
  const double softcap = softcap_or(config, "attn_logit_softcapping", 50, what);
  const double scalar = positive_or(config, "query_pre_attn_scalar", 256, what);
  for (LayerShape& layer : decoder.layers) {
    layer.score_softcap = softcap;
    layer.score_scale = 1 / std::sqrt(scalar);
  }
}

void write(const DecoderConfig& decoder, Json& config) {
  write_rope(decoder, config);
  const LayerShape& layer = decoder.layer(0);
  config["attention_bias"] = decoder.attention_bias;
  config["attn_logit_softcapping"] = softcap_json(layer.score_softcap);
  config["final_logit_softcapping"] = softcap_json(decoder.logit_softcap);
  config["query_pre_attn_scalar"] = inverse_square(layer.score_scale);
  config["layer_types"] = kinds_json(decoder);
  config["sliding_window"] = window_json(decoder);
}

DecoderConfig parse_gguf_config(const GgufContents& contents, std::span<const std::byte> bytes,
                                const std::string& what) {
  const GgufFile file(contents, bytes, what);
  Json config = gguf_common_json(file, kGemma2.name);
  config["rope_parameters"] = to_json(gguf_rope(file, config["head_dim"]));
  config["query_pre_attn_scalar"] = gguf_gemma_scalar(file, config, 46, {26, 42, 46});
  config["layer_types"] = gguf_kinds(file, 2);
  config["sliding_window"] = file.keys.integer_or("attention.sliding_window", 4096);
  for (const auto& [gguf, key] : {std::pair("attn_logit_softcapping", "attn_logit_softcapping"),
                                  std::pair("final_logit_softcapping", "final_logit_softcapping")}) {
    if (file.keys.has(gguf)) config[key] = shortest_decimal(file.keys.number_or(gguf, 0));
  }
  return parse_decoder_config(config, what);
}

}  // namespace
}  // namespace gemma2_family

const Architecture kGemma2 = {
    .name = "gemma2",
    .summary =
        "Rotation by halves with one base; every other layer sees a sliding window; scores are capped.",
    .source = "Gemma 2 (arXiv 2408.00118)",
    .model_types = {"gemma2"},
    .classes = {"Gemma2ForCausalLM", "Gemma2Model"},
    .trains = true,
    .defaults = {.max_position_embeddings = 8192,
                 .num_key_value_heads = 4,
                 .head_dim = 256,
                 .tie_word_embeddings = true,
                 .activation = GateActivation::kGeluTanh,
                 .activation_key = "hidden_activation",
                 .bos_token_id = 2,
                 .eos_token_ids = {1}},
    .parse = gemma2_family::parse,
    .write = gemma2_family::write,
    .tensors = gemma_rules,
    .gguf = {{"gemma2", gemma2_family::parse_gguf_config, gemma_gguf_role}},
};

}  // namespace ropescope::families
