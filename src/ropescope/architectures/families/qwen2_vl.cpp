#include "ropescope/architectures/families/common.h"
#include "ropescope/architectures/families/families.h"

namespace ropescope::families {

namespace qwen2_vl_family {
namespace {

void parse(const Json& config, DecoderConfig& decoder, const std::string& what) {
  decoder.attention_bias = true;
  read_rope_with_axes(config, decoder, kQwen2Vl.defaults, {.frame_step = 1}, what);
  fill_qwen_layers(config, decoder, json_integer_or(config, "max_window_layers", 80, what), true, what);
}

void write(const DecoderConfig& decoder, Json& config) {
  write_rope_with_axes(decoder, config);
  write_qwen_windows(decoder, config);
}

}  // namespace
}  // namespace qwen2_vl_family

const Architecture kQwen2Vl = {
    .name = "qwen2_vl_text",
    .summary = "As qwen2; frames, rows and columns have ids of their own, each for a run of channels.",
    .source = "Qwen2-VL (arXiv 2409.12191)",
    .model_types = {"qwen2_vl_text"},
    .classes = {"Qwen2VLTextModel"},
    .wrappers = {"qwen2_vl"},
    .trains = true,
    .defaults = {.max_position_embeddings = 32768,
                 .num_key_value_heads = 8,
                 .norm_eps = 1e-5,
                 .rope_theta = 1e6,
                 .vocab_size = 152064,
                 .hidden_size = 8192,
                 .intermediate_size = 29568,
                 .num_hidden_layers = 80,
                 .num_attention_heads = 64},
    .parse = qwen2_vl_family::parse,
    .write = qwen2_vl_family::write,
    .tensors = llama_rules,
};

}  // namespace ropescope::families
