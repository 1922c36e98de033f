#include "ropescope/architectures/families/common.h"
#include "ropescope/architectures/families/families.h"
#include "ropescope/architectures/gguf_keys.h"
#include "ropescope/architectures/gguf_names.h"

namespace ropescope::families {

namespace llama_family {
namespace {

void parse(const Json& config, DecoderConfig& decoder, const std::string& what) {
  read_attention_bias(config, decoder, false, what);
  decoder.mlp_bias = json_bool_or(config, "mlp_bias", false, what);
  decoder.ropes = {shared_rope(config, decoder, kLlama.defaults, what)};
  fill_equal_layers(decoder);
}

void write(const DecoderConfig& decoder, Json& config) {
  write_old_rope(decoder, config);
  config["attention_bias"] = decoder.attention_bias;
  config["mlp_bias"] = decoder.mlp_bias;
}

}  // namespace
}  // namespace llama_family

const Architecture kLlama = {
    .name = "llama",
    .summary = "Rotation by halves on every layer; Llama 3.1 divides slow frequencies by wavelength.",
    .source = "Llama 1 to 3 (arXiv 2302.13971, 2407.21783) and models of their form",
    .model_types = {"llama"},
    .classes = {"LlamaForCausalLM", "LLaMAForCausalLM", "LlamaModel"},
    .wrappers = {"idefics3", "smolvlm"},
    .trains = true,
    .defaults = {.max_position_embeddings = 2048, .bos_token_id = 1, .eos_token_ids = {2}},
    .parse = llama_family::parse,
    .write = llama_family::write,
    .tensors = llama_rules,
    .gguf = {{"llama", gguf_llama_config, gguf_llama_role}},
};

}  // namespace ropescope::families
