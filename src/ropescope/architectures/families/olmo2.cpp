#include <array>

#include "ropescope/architectures/families/common.h"
#include "ropescope/architectures/families/families.h"
#include "ropescope/architectures/gguf_keys.h"
#include "ropescope/architectures/gguf_names.h"
#include "ropescope/architectures/shortest_decimal.h"

namespace ropescope::families {

namespace olmo2_family {
namespace {

void parse(const Json& config, DecoderConfig& decoder, const std::string& what) {
  read_attention_bias(config, decoder, false, what);
  decoder.ropes = {shared_rope(config, decoder, kOlmo2.defaults, what)};
  fill_equal_layers(decoder);
  for (LayerShape& layer : decoder.layers) layer.qk_norm = QkNorm::kAllHeads;
}

void write(const DecoderConfig& decoder, Json& config) {
  write_rope(decoder, config);
  config["attention_bias"] = decoder.attention_bias;
}

DecoderConfig parse_gguf_config(const GgufContents& contents, std::span<const std::byte> bytes,
                                const std::string& what) {
  const GgufFile file(contents, bytes, what);
  Json config = gguf_common_json(file, kOlmo2.name);
  const RopeConfig rope = gguf_rope(file, config["head_dim"]);
  const int64_t window = file.keys.integer_or("attention.sliding_window", 0);
  if (window == 0) {
    config["rope_parameters"] = to_json(rope);
    return parse_decoder_config(config, what);
  }
  // OLMo 3 goes by the same name; layers with a window turn at the plain frequencies.
  config["model_type"] = kOlmo3.name;
  config["layer_types"] = gguf_kinds(file, 4);
  config["sliding_window"] = window;
  RopeConfig sliding;
  sliding.theta = shortest_decimal(file.keys.number_or("rope.freq_base_swa", rope.theta));
  config["rope_parameters"] = {{kFull, to_json(rope)}, {kSliding, to_json(sliding)}};
  return parse_decoder_config(config, what);
}

constexpr std::array<GgufName, 2> kNames = {{
    {"post_attention_norm", "post_attention_layernorm"},
    {"post_ffw_norm", "post_feedforward_layernorm"},
}};

GgufRole role(const GgufTensor& tensor, const GgufMetadata&, const std::string&) {
  return gguf_named(tensor, kNames);
}

}  // namespace
}  // namespace olmo2_family

const Architecture kOlmo2 = {
    .name = "olmo2",
    .summary = "Rotation by halves, base 500,000; q and k are normalised over all heads before they turn.",
    .source = "OLMo 2 (arXiv 2501.00656)",
    .model_types = {"olmo2"},
    .classes = {"Olmo2ForCausalLM", "Olmo2Model"},
    .trains = true,
    .defaults = {.max_position_embeddings = 2048, .norm_eps = 1e-5, .eos_token_ids = {50279}},
    .parse = olmo2_family::parse,
    .write = olmo2_family::write,
    .tensors = olmo_rules,
    .gguf = {{"olmo2", olmo2_family::parse_gguf_config, olmo2_family::role}},
};

}  // namespace ropescope::families
