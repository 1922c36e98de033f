#include "ropescope/architectures/families/common.h"
#include "ropescope/architectures/families/families.h"
#include "ropescope/architectures/gguf_keys.h"
#include "ropescope/architectures/gguf_names.h"

namespace ropescope::families {

namespace qwen2_family {
namespace {

void parse(const Json& config, DecoderConfig& decoder, const std::string& what) {
  decoder.attention_bias = true;
  decoder.ropes = {shared_rope(config, decoder, kQwen2.defaults, what)};
  fill_qwen_layers(config, decoder, json_integer_or(config, "max_window_layers", 28, what), true, what);
}

void write(const DecoderConfig& decoder, Json& config) {
  write_old_rope(decoder, config);
  write_qwen_windows(decoder, config);
}

}  // namespace
}  // namespace qwen2_family

const Architecture kQwen2 = {
    .name = "qwen2",
    .summary = "Rotation by halves on every layer, base 1,000,000; biases on q, k and v.",
    .source = "Qwen2 and Qwen2.5 (arXiv 2407.10671, 2412.15115)",
    .model_types = {"qwen2"},
    .classes = {"Qwen2ForCausalLM", "Qwen2Model"},
    .wrappers = {"internvl", "internvl_chat"},
    .trains = true,
    .defaults = {.max_position_embeddings = 32768},
    .parse = qwen2_family::parse,
    .write = qwen2_family::write,
    .tensors = llama_rules,
    .gguf = {{"qwen2", gguf_llama_config, gguf_plain_role}},
};

}  // namespace ropescope::families
