#include <array>
#include <cmath>

#include "ropescope/architectures/families/common.h"
#include "ropescope/architectures/families/families.h"
#include "ropescope/architectures/gguf_keys.h"
#include "ropescope/architectures/gguf_names.h"
#include "ropescope/architectures/shortest_decimal.h"

namespace ropescope::families {

namespace phi3_family {
namespace {

void parse(const Json& config, DecoderConfig& decoder, const std::string& what) {
  Json own = config;
  // The class's own length stands at the top and wins.
  if (!json_has(own, "original_max_position_embeddings")) own["original_max_position_embeddings"] = 4096;
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!json_has(own, key) || !own[key].is_object()) continue;
    Json& settings = own[key];
    for (const char* type : {"type", "rope_type"}) {
      // Both are old names of longrope here.
      if (json_has(settings, type) && (settings[type] == "su" || settings[type] == "yarn")) {
        settings[type] = "longrope";
      }
    }
    const bool plain = !json_has(settings, "short_factor");
    if (plain) own.erase("original_max_position_embeddings");
  }
  if (!json_has(own, "rope_scaling") && !json_has(own, "rope_parameters")) {
    own.erase("original_max_position_embeddings");
  }
  decoder.ropes = {shared_rope(own, decoder, kPhi3.defaults, what)};
  const int64_t window = window_or(config, std::nullopt, what);
  const auto layers = static_cast<size_t>(decoder.num_hidden_layers);
  fill_layers(decoder, std::vector<std::string>(layers, window > 0 ? kSliding : kFull), window, what);
}

void write(const DecoderConfig& decoder, Json& config) {
  write_rope(decoder, config);
  config["sliding_window"] = window_json(decoder);
  const auto& length = decoder.rope().original_max_position_embeddings;
  if (length) config["original_max_position_embeddings"] = *length;
}

std::vector<TensorRule> tensors(const DecoderConfig& decoder, int64_t layer) {
  if (layer < 0) return outside_rules(decoder);
  RuleList rules(decoder, layer);
  const LayerShape& shape = rules.shape();
  const int64_t hidden = decoder.hidden_size;
  const int64_t queries = shape.heads * shape.head_dim;
  const int64_t keys = shape.kv_heads * shape.head_dim;
  const int64_t rows = queries + 2 * keys;
  const std::string fused = "self_attn.qkv_proj.weight";
  rules.norm(TensorKind::kAttentionNorm, "input_layernorm");
  rules.add_part(TensorKind::kQuery, fused, {queries, hidden}, 0, rows);
  rules.add_part(TensorKind::kKey, fused, {keys, hidden}, queries, rows);
  rules.add_part(TensorKind::kValue, fused, {keys, hidden}, queries + keys, rows);
  rules.add(TensorKind::kAttentionOut, "self_attn.o_proj.weight", {hidden, queries});
  rules.norm(TensorKind::kMlpNorm, "post_attention_layernorm");
  rules.fused_feed_forward();
  return rules.take();
}

DecoderConfig parse_gguf_config(const GgufContents& contents, std::span<const std::byte> bytes,
                                const std::string& what) {
  const GgufFile file(contents, bytes, what);
  Json config = gguf_common_json(file, kPhi3.name);
  const RopeConfig rope = gguf_rope(file, config["head_dim"]);
  Json settings = to_json(rope);
  const GgufTensor* longer = contents.find("rope_factors_long.weight");
  const GgufTensor* shorter = contents.find("rope_factors_short.weight");
  if (longer != nullptr && shorter != nullptr) {
    const int64_t pairs = file.keys.integer_or("rope.dimension_count", config["head_dim"]) / 2;
    settings["rope_type"] = "longrope";
    settings["long_factor"] = Json::array();
    settings["short_factor"] = Json::array();
    for (const float factor : file.numbers(*longer, pairs))
      settings["long_factor"].push_back(shortest_decimal(factor));
    for (const float factor : file.numbers(*shorter, pairs)) {
      settings["short_factor"].push_back(shortest_decimal(factor));
    }
    config["original_max_position_embeddings"] = file.keys.integer("rope.scaling.original_context_length");
  }
  config["rope_parameters"] = settings;
  const int64_t window = file.keys.integer_or("attention.sliding_window", 0);
  if (window > 0) config["sliding_window"] = window;
  DecoderConfig decoder = parse_decoder_config(config, what);
  // The file has the factor on cos and sin; where the two lengths give it, it is not a setting of its own.
  const double stored = file.keys.number_or("rope.scaling.attn_factor", 0);
  if (decoder.rope().type != RopeType::kLongrope || stored <= 0) return decoder;
  const double derived =
      make_frequencies(decoder.rope(), decoder.head_dim, decoder.max_position_embeddings, 1).attention_scale;
  if (std::abs(derived / stored - 1) > 1e-6) decoder.rope().attention_factor = shortest_decimal(stored);
  return decoder;
}

constexpr std::array<GgufName, 2> kNames = {{
    {"attn_qkv", "self_attn.qkv_proj"}, {"ffn_up", "mlp.gate_up_proj"},  // gate first, as in the fused matrix
}};

GgufRole role(const GgufTensor& tensor, const GgufMetadata&, const std::string&) {
  return gguf_named(tensor, kNames);
}

}  // namespace
}  // namespace phi3_family

const Architecture kPhi3 = {
    .name = "phi3",
    .summary = "Rotation by halves of the first channels; longrope divides each frequency by its own number.",
    .source = "Phi-3, Phi-3.5 and Phi-4-mini (arXiv 2404.14219, 2503.01743); longrope: arXiv 2402.13753",
    .model_types = {"phi3"},
    .classes = {"Phi3ForCausalLM", "Phi3Model"},
    .trains = true,
    .defaults = {.max_position_embeddings = 4096,
                 .norm_eps = 1e-5,
                 .bos_token_id = 1,
                 .eos_token_ids = {32000}},
    .parse = phi3_family::parse,
    .write = phi3_family::write,
    .tensors = phi3_family::tensors,
    .gguf = {{"phi3", phi3_family::parse_gguf_config, phi3_family::role}},
};

}  // namespace ropescope::families
