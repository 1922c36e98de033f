#include "ropescope/architectures/families/common.h"
#include "ropescope/architectures/families/families.h"
#include "ropescope/core/errors.h"

namespace ropescope::families {

namespace qwen3_vl_family {
namespace {

void require_theta(const Json& config, const std::string& what) {
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const Json* settings = json_find(config, key);
    if (settings != nullptr && json_has(*settings, "rope_theta")) return;
  }
  if (json_has(config, "rope_theta")) return;
  throw InputError(
      "{}: \"rope_theta\": expected a number, found none, and releases of transformers disagree on what that "
      "means (500000 or 5000000). Try: the value that the model was trained with",
      what);
}

void parse(const Json& config, DecoderConfig& decoder, const std::string& what) {
  read_attention_bias(config, decoder, false, what);
  require_theta(config, what);
  read_rope_with_axes(config, decoder, kQwen3Vl.defaults,
                      {.interleaved = true, .frame_step = 1, .sections = {24, 20, 20}}, what);
  fill_equal_layers(decoder);
  for (LayerShape& layer : decoder.layers) layer.qk_norm = QkNorm::kPerHead;
}

void write(const DecoderConfig& decoder, Json& config) {
  write_rope_with_axes(decoder, config);
  config["attention_bias"] = decoder.attention_bias;
}

}  // namespace
}  // namespace qwen3_vl_family

const Architecture kQwen3Vl = {
    .name = "qwen3_vl_text",
    .summary = "As qwen3; ids of frames, rows and columns, whose channels are interleaved.",
    .source = "Qwen3-VL (arXiv 2511.21631)",
    .model_types = {"qwen3_vl_text"},
    .classes = {"Qwen3VLTextModel"},
    .wrappers = {"qwen3_vl"},
    .trains = true,
    .defaults = {.max_position_embeddings = 128000,
                 .num_key_value_heads = 32,
                 .head_dim = 128,
                 .rope_theta = 500000,
                 .vocab_size = 151936,
                 .hidden_size = 4096,
                 .intermediate_size = 22016,
                 .num_hidden_layers = 32,
                 .num_attention_heads = 32},
    .parse = qwen3_vl_family::parse,
    .write = qwen3_vl_family::write,
    .tensors = llama_rules,
};

}  // namespace ropescope::families
