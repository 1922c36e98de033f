#include "ropescope/architectures/families/common.h"
#include "ropescope/architectures/families/families.h"

namespace ropescope::families {

namespace olmo3_family {
namespace {

void parse(const Json& config, DecoderConfig& decoder, const std::string& what) {
  read_attention_bias(config, decoder, false, what);
  fill_layers(decoder, layer_kinds(config, decoder, {kFull, kSliding}, full_every(4), what),
              window_or(config, 4096, what), what);
  for (LayerShape& layer : decoder.layers) layer.qk_norm = QkNorm::kAllHeads;
  // The old spelling has one base for both kinds; what scales it is for full layers only.
  const RopeDefaults base = {json_number_or(config, "rope_theta", kOlmo3.defaults.rope_theta, what), 1};
  const int64_t length = decoder.max_position_embeddings;
  set_ropes(decoder, read_rope_of_kind(full_rope_parameters(config, what), base, length, what),
            read_rope_of_kind(rope_parameters_of(config, kSliding, what), base, length, what));
}

void write(const DecoderConfig& decoder, Json& config) {
  write_ropes_by_kind(decoder, config);
  config["attention_bias"] = decoder.attention_bias;
  config["layer_types"] = kinds_json(decoder);
  config["sliding_window"] = window_json(decoder);
}

}  // namespace
}  // namespace olmo3_family

const Architecture kOlmo3 = {
    .name = "olmo3",
    .summary = "OLMo 2 with sliding windows on three of four layers; yarn on the full ones only.",
    .source = "Olmo 3 (arXiv 2512.13961)",
    .model_types = {"olmo3"},
    .classes = {"Olmo3ForCausalLM", "Olmo3Model"},
    .trains = true,
    .defaults = {.max_position_embeddings = 2048,
                 .norm_eps = 1e-5,
                 .rope_theta = 500000,
                 .eos_token_ids = {50279}},
    .parse = olmo3_family::parse,
    .write = olmo3_family::write,
    .tensors = olmo_rules,
};

}  // namespace ropescope::families
