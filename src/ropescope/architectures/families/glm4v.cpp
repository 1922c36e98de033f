#include "ropescope/architectures/families/common.h"
#include "ropescope/architectures/families/families.h"

namespace ropescope::families {

namespace glm4v_family {
namespace {

void parse(const Json& config, DecoderConfig& decoder, const std::string& what) {
  decoder.attention_bias = true;  // of q, k and v, whatever the config says; o has none
  decoder.pairing = PairLayout::kAdjacent;
  read_rope_with_axes(config, decoder, kGlm4v.defaults, {.sections = {8, 12, 12}}, what);
  fill_equal_layers(decoder);
}

void write(const DecoderConfig& decoder, Json& config) { write_rope_with_axes(decoder, config); }

}  // namespace
}  // namespace glm4v_family

const Architecture kGlm4v = {
    .name = "glm4v_text",
    .summary = "As glm4; frames, rows and columns have ids of their own, each for a run of channels.",
    .source = "GLM-4.1V-Thinking (arXiv 2507.01006)",
    .model_types = {"glm4v_text"},
    .classes = {"Glm4vTextModel"},
    .wrappers = {"glm4v"},
    .trains = true,
    .defaults = {.max_position_embeddings = 32768,
                 .num_key_value_heads = 2,
                 .norm_eps = 1e-5,
                 .vocab_size = 151552,
                 .hidden_size = 4096,
                 .intermediate_size = 13696,
                 .num_hidden_layers = 40,
                 .num_attention_heads = 32},
    .parse = glm4v_family::parse,
    .write = glm4v_family::write,
    .tensors = glm4_rules,
};

}  // namespace ropescope::families
