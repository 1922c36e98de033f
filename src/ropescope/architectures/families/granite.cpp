#include "ropescope/architectures/families/common.h"
#include "ropescope/architectures/families/families.h"
#include "ropescope/architectures/gguf_keys.h"
#include "ropescope/architectures/gguf_names.h"
#include "ropescope/architectures/shortest_decimal.h"

namespace ropescope::families {

namespace granite_family {
namespace {

void parse(const Json& config, DecoderConfig& decoder, const std::string& what) {
  read_attention_bias(config, decoder, false, what);
  decoder.mlp_bias = json_bool_or(config, "mlp_bias", false, what);
  decoder.embedding_scale = positive_or(config, "embedding_multiplier", 1, what);
  decoder.residual_scale = positive_or(config, "residual_multiplier", 1, what);
  decoder.logit_scale = 1 / positive_or(config, "logits_scaling", 1, what);
  decoder.ropes = {shared_rope(config, decoder, kGranite.defaults, what)};
  fill_equal_layers(decoder);
  const double score_scale = positive_or(config, "attention_multiplier", 1, what);
  for (LayerShape& layer : decoder.layers) layer.score_scale = score_scale;
}

void write(const DecoderConfig& decoder, Json& config) {
  write_rope(decoder, config);
  config["attention_bias"] = decoder.attention_bias;
  config["mlp_bias"] = decoder.mlp_bias;
  config["embedding_multiplier"] = decoder.embedding_scale;
  config["residual_multiplier"] = decoder.residual_scale;
  config["logits_scaling"] = 1 / decoder.logit_scale;
  config["attention_multiplier"] = decoder.layer(0).score_scale;
}

DecoderConfig parse_gguf_config(const GgufContents& contents, std::span<const std::byte> bytes,
                                const std::string& what) {
  const GgufFile file(contents, bytes, what);
  Json config = gguf_common_json(file, kGranite.name);
  config["rope_parameters"] = to_json(gguf_whole_rope(file, config["head_dim"]));
  config["mlp_bias"] = file.has_tensor("blk.0.ffn_gate.bias");
  for (const auto& [gguf, key] :
       {std::pair("attention.scale", "attention_multiplier"),
        std::pair("embedding_scale", "embedding_multiplier"),
        std::pair("residual_scale", "residual_multiplier"), std::pair("logit_scale", "logits_scaling")}) {
    if (file.keys.has(gguf)) config[key] = shortest_decimal(file.keys.number_or(gguf, 1));
  }
  return parse_decoder_config(config, what);
}

}  // namespace
}  // namespace granite_family

const Architecture kGranite = {
    .name = "granite",
    .summary = "Rotation by halves; scores are scaled by a multiplier of its own.",
    .source = "Granite 3 (huggingface.co/ibm-granite); multipliers: arXiv 2203.03466",
    .model_types = {"granite"},
    .classes = {"GraniteForCausalLM", "GraniteModel"},
    .trains = true,
    .defaults = {.max_position_embeddings = 2048, .bos_token_id = 1, .eos_token_ids = {2}},
    .parse = granite_family::parse,
    .write = granite_family::write,
    .tensors = llama_rules,
    .gguf = {{"granite", granite_family::parse_gguf_config, gguf_llama_role}},
};

}  // namespace ropescope::families
