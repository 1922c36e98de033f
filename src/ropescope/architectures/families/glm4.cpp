#include <array>

#include "ropescope/architectures/families/common.h"
#include "ropescope/architectures/families/families.h"
#include "ropescope/architectures/gguf_keys.h"
#include "ropescope/architectures/gguf_names.h"

namespace ropescope::families {

namespace glm4_family {
namespace {

void parse(const Json& config, DecoderConfig& decoder, const std::string& what) {
  decoder.attention_bias = json_bool_or(config, "attention_bias", true, what);  // o has none
  decoder.pairing = PairLayout::kAdjacent;
  decoder.ropes = {shared_rope(config, decoder, kGlm4.defaults, what)};
  fill_equal_layers(decoder);
}

void write(const DecoderConfig& decoder, Json& config) {
  write_rope(decoder, config);
  config["attention_bias"] = decoder.attention_bias;
}

DecoderConfig parse_gguf_config(const GgufContents& contents, std::span<const std::byte> bytes,
                                const std::string& what) {
  const GgufFile file(contents, bytes, what);
  Json config = gguf_common_json(file, kGlm4.name);
  config["rope_parameters"] = to_json(gguf_rope(file, config["head_dim"]));
  return parse_decoder_config(config, what);
}

constexpr std::array<GgufName, 3> kNames = {{
    {"post_attention_norm", "post_self_attn_layernorm"},
    {"post_ffw_norm", "post_mlp_layernorm"},
    {"ffn_up", "mlp.gate_up_proj"},  // gate first, as in the fused matrix
}};

GgufRole role(const GgufTensor& tensor, const GgufMetadata&, const std::string&) {
  return gguf_named(tensor, kNames);
}

}  // namespace
}  // namespace glm4_family

const Architecture kGlm4 = {
    .name = "glm4",
    .summary = "Rotation of adjacent channels, in the first half of a head only.",
    .source = "GLM-4-0414 (arXiv 2406.12793; huggingface.co/zai-org/GLM-4-9B-0414)",
    .model_types = {"glm4"},
    .classes = {"Glm4ForCausalLM", "Glm4Model"},
    .trains = true,
    .defaults = {.max_position_embeddings = 131072,
                 .num_key_value_heads = 2,
                 .head_dim = 128,
                 .norm_eps = 1.5625e-7,
                 .partial_rotary_factor = 0.5,
                 .eos_token_ids = {151329, 151336, 151338}},
    .parse = glm4_family::parse,
    .write = glm4_family::write,
    .tensors = glm4_rules,
    .gguf = {{"glm4", glm4_family::parse_gguf_config, glm4_family::role}},
};

}  // namespace ropescope::families
