#include "ropescope/architectures/families/common.h"
#include "ropescope/architectures/families/families.h"
#include "ropescope/architectures/gguf_keys.h"
#include "ropescope/architectures/gguf_names.h"

namespace ropescope::families {

namespace qwen3_family {
namespace {

void parse(const Json& config, DecoderConfig& decoder, const std::string& what) {
  read_attention_bias(config, decoder, false, what);
  decoder.ropes = {shared_rope(config, decoder, kQwen3.defaults, what)};
  fill_qwen_layers(config, decoder, json_integer_or(config, "max_window_layers", 28, what), true, what);
  for (LayerShape& layer : decoder.layers) layer.qk_norm = QkNorm::kPerHead;
}

void write(const DecoderConfig& decoder, Json& config) {
  write_rope(decoder, config);
  write_qwen_windows(decoder, config);
  config["attention_bias"] = decoder.attention_bias;
}

DecoderConfig parse_gguf_config(const GgufContents& contents, std::span<const std::byte> bytes,
                                const std::string& what) {
  const GgufFile file(contents, bytes, what);
  Json config = gguf_common_json(file, kQwen3.name);
  config["rope_parameters"] = to_json(gguf_rope(file, config["head_dim"]));
  return parse_decoder_config(config, what);
}

}  // namespace
}  // namespace qwen3_family

const Architecture kQwen3 = {
    .name = "qwen3",
    .summary = "Rotation by halves, base 1,000,000; every head of q and k is normalised before it turns.",
    .source = "Qwen3 (arXiv 2505.09388)",
    .model_types = {"qwen3"},
    .classes = {"Qwen3ForCausalLM", "Qwen3Model"},
    .trains = true,
    .defaults = {.max_position_embeddings = 32768, .num_key_value_heads = 32, .head_dim = 128},
    .parse = qwen3_family::parse,
    .write = qwen3_family::write,
    .tensors = llama_rules,
    .gguf = {{"qwen3", qwen3_family::parse_gguf_config, gguf_plain_role}},
};

}  // namespace ropescope::families
