#include "ropescope/architectures/families/common.h"
#include "ropescope/architectures/families/families.h"
#include "ropescope/architectures/gguf_keys.h"
#include "ropescope/architectures/gguf_names.h"
#include "ropescope/weights/warn_once.h"

namespace ropescope::families {

namespace smollm3_family {
namespace {

void parse(const Json& config, DecoderConfig& decoder, const std::string& what) {
  read_attention_bias(config, decoder, false, what);
  decoder.mlp_bias = json_bool_or(config, "mlp_bias", false, what);
  decoder.ropes = {shared_rope(config, decoder, kSmollm3.defaults, what)};
  const std::vector<bool> rotates = rotating_layers(config, decoder, what);
  int64_t window = 0;
  if (json_bool_or(config, "use_sliding_window", false, what)) window = window_or(config, std::nullopt, what);
  // The layers that do not rotate are the ones that slide.
  const KindOf kind_of = [&](int64_t layer) {
    return window > 0 && !rotates[static_cast<size_t>(layer)] ? kSliding : kFull;
  };
  fill_layers(decoder, layer_kinds(config, decoder, {kFull, kSliding}, kind_of, what), window, what);
  for (size_t layer = 0; layer < rotates.size(); ++layer) {
    if (!rotates[layer]) decoder.layers[layer].rope = kNoRope;
  }
}

void write(const DecoderConfig& decoder, Json& config) {
  write_rope(decoder, config);
  config["attention_bias"] = decoder.attention_bias;
  config["mlp_bias"] = decoder.mlp_bias;
  config["layer_types"] = kinds_json(decoder);
  config["sliding_window"] = window_json(decoder);
  config["use_sliding_window"] = !window_json(decoder).is_null();
  config["no_rope_layers"] = Json::array();
  for (const LayerShape& layer : decoder.layers) config["no_rope_layers"].push_back(layer.rotates() ? 1 : 0);
}

DecoderConfig parse_gguf_config(const GgufContents& contents, std::span<const std::byte> bytes,
                                const std::string& what) {
  const GgufFile file(contents, bytes, what);
  Json config = gguf_common_json(file, kSmollm3.name);
  config["rope_parameters"] = to_json(gguf_whole_rope(file, config["head_dim"]));
  if (config["num_hidden_layers"] != 36) {
    warn_once(fmt::format(
        "{}: the file does not say which layers rotate; every fourth is taken not to, as in SmolLM3-3B",
        what));
  }
  return parse_decoder_config(config, what);
}

}  // namespace
}  // namespace smollm3_family

const Architecture kSmollm3 = {
    .name = "smollm3",
    .summary = "Rotation by halves, base 2,000,000, but every fourth layer does not rotate at all.",
    .source = "SmolLM3 (huggingface.co/HuggingFaceTB/SmolLM3-3B); layers without positions: arXiv 2501.18795",
    .model_types = {"smollm3"},
    .classes = {"SmolLM3ForCausalLM", "SmolLM3Model"},
    .trains = true,
    .defaults = {.max_position_embeddings = 32768,
                 .num_key_value_heads = 4,
                 .tie_word_embeddings = true,
                 .rope_theta = 2e6,
                 .bos_token_id = 128000,
                 .eos_token_ids = {128001}},
    .parse = smollm3_family::parse,
    .write = smollm3_family::write,
    .tensors = llama_rules,
    .gguf = {{"smollm3", smollm3_family::parse_gguf_config, gguf_llama_role}},
};

}  // namespace ropescope::families
