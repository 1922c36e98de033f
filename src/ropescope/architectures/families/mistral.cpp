#include "ropescope/architectures/families/common.h"
#include "ropescope/architectures/families/families.h"

namespace ropescope::families {

namespace mistral_family {
namespace {

void parse(const Json& config, DecoderConfig& decoder, const std::string& what) {
  decoder.ropes = {shared_rope(config, decoder, kMistral.defaults, what)};
  const int64_t window = window_or(config, 4096, what);
  // Without a window that a run of the trained length fills, it is a Llama decoder.
  if (window == 0 || window >= decoder.max_position_embeddings) {
    decoder.model_type = kLlama.name;
    fill_equal_layers(decoder);
    return;
  }
  const auto layers = static_cast<size_t>(decoder.num_hidden_layers);
  fill_layers(decoder, std::vector<std::string>(layers, kSliding), window, what);
}

void write(const DecoderConfig& decoder, Json& config) {
  write_old_rope(decoder, config);
  config["sliding_window"] = window_json(decoder);
}

}  // namespace
}  // namespace mistral_family

const Architecture kMistral = {
    .name = "mistral",
    .summary = "Rotation by halves; every layer sees a sliding window.",
    .source = "Mistral 7B (arXiv 2310.06825)",
    .model_types = {"mistral"},
    .classes = {"MistralForCausalLM", "MistralModel"},
    .trains = true,
    .defaults = {.max_position_embeddings = 131072,
                 .num_key_value_heads = 8,
                 .bos_token_id = 1,
                 .eos_token_ids = {2}},
    .parse = mistral_family::parse,
    .write = mistral_family::write,
    .tensors = llama_rules,
};

}  // namespace ropescope::families
