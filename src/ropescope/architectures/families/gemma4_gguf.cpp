// Gemma 4 in GGUF files ("gemma4"): sizes a layer, and proportional rotation as divisors of the frequencies, 1 where a
// channel turns and 1e30 where not.
#include "ropescope/architectures/families/gemma4_gguf.h"

#include <algorithm>
#include <array>

#include "ropescope/architectures/families/common.h"
#include "ropescope/architectures/families/families.h"
#include "ropescope/architectures/gguf_keys.h"
#include "ropescope/architectures/gguf_names.h"
#include "ropescope/architectures/shortest_decimal.h"
#include "ropescope/core/errors.h"

namespace ropescope::families {

namespace {

constexpr std::array<GgufName, 18> kGemma4Names = {{
    {"ffn_norm", "pre_feedforward_layernorm"},
    {"post_attention_norm", "post_attention_layernorm"},
    {"post_ffw_norm", "post_feedforward_layernorm"},
    {"post_ffw_norm_1", "post_feedforward_layernorm_1"},
    {"post_ffw_norm_2", "post_feedforward_layernorm_2"},
    {"pre_ffw_norm_2", "pre_feedforward_layernorm_2"},
    {"ffn_gate_inp.weight", "router.proj.weight"},
    {"ffn_gate_inp.scale", "router.scale"},
    {"ffn_down_exps.scale", "router.per_expert_scale"},
    {"ffn_gate_up_exps.weight", "experts.gate_up_proj"},
    {"ffn_down_exps.weight", "experts.down_proj"},
    {"ffn_gate_exps", "experts.gate_proj"},
    {"ffn_up_exps", "experts.up_proj"},
    {"layer_output_scale.weight", "layer_scalar"},
    {"inp_gate", "per_layer_input_gate"},
    {"proj", "per_layer_projection"},
    {"post_norm", "post_per_layer_input_norm"},
    {"attn_post_norm", "post_attention_layernorm"},
}};

/// The share of the head's pairs that turn.
double rotated_share(const GgufFile& file, int64_t head_dim) {
  const GgufTensor* tensor = file.contents.find("rope_freqs.weight");
  if (tensor == nullptr) return 1;
  constexpr float kStill = 1e29F;
  const std::vector<float> divisors = file.numbers(*tensor, head_dim / 2);
  const auto still =
      std::find_if(divisors.begin(), divisors.end(), [](float divisor) { return divisor != 1; });
  if (!std::all_of(still, divisors.end(), [](float divisor) { return divisor > kStill; }) ||
      still == divisors.begin()) {
    throw InputError("{}: tensor \"rope_freqs.weight\": expected 1 for channels that turn, then 1e30",
                     file.what);
  }
  return static_cast<double>(still - divisors.begin()) / static_cast<double>(divisors.size());
}

void read_ropes(const GgufFile& file, int64_t full_dim, int64_t sliding_dim, Json& config) {
  const GgufKeys& keys = file.keys;
  const int64_t turning = keys.integer_or("rope.dimension_count_swa", sliding_dim);
  if (turning != sliding_dim || keys.integer_or("rope.dimension_count", full_dim) != full_dim) {
    throw InputError("{}: {}: expected the head size, found another number", file.what,
                     keys.name("rope.dimension_count"));
  }
  RopeConfig full;
  full.theta = shortest_decimal(keys.number_or("rope.freq_base", 1e6));
  full.type = RopeType::kProportional;
  full.partial_rotary_factor = rotated_share(file, full_dim);
  RopeConfig sliding;
  sliding.theta = shortest_decimal(keys.number_or("rope.freq_base_swa", 10000));
  config["rope_parameters"] = {{kFull, to_json(full)}, {kSliding, to_json(sliding)}};
}

void read_experts(const GgufFile& file, Json& config) {
  const int64_t count = file.keys.integer_or("expert_count", 0);
  config["enable_moe_block"] = count > 0;
  if (count == 0) return;
  config["num_experts"] = count;
  config["top_k_experts"] = file.keys.integer("expert_used_count");
  config["moe_intermediate_size"] = file.keys.integer("expert_feed_forward_length");
}

}  // namespace

DecoderConfig gemma4_gguf_config(const GgufContents& contents, std::span<const std::byte> bytes,
                                 const std::string& what) {
  const GgufFile file(contents, bytes, what);
  const GgufKeys& keys = file.keys;
  const int64_t layers = file.layers();
  const std::vector<int64_t> kv_heads = keys.layer_integers("attention.head_count_kv", layers);
  const std::vector<int64_t> inner = keys.layer_integers("feed_forward_length", layers);
  Json config = gguf_common_json(file, kGemma4.name);
  const int64_t full_dim = config["head_dim"];
  const int64_t sliding_dim = keys.integer_or("attention.key_length_swa", full_dim);
  config["head_dim"] = sliding_dim;
  config["intermediate_size"] = inner.front();
  config["layer_types"] = gguf_kinds(file, 6);
  config["sliding_window"] = keys.integer("attention.sliding_window");
  config["per_layer_config"] = Json::object();
  const std::vector<int64_t> without_values = gguf_layers_without(file, "attn_v.weight");
  const int64_t shared = keys.integer_or("attention.shared_kv_layers", 0);
  config["num_kv_shared_layers"] = shared;
  config["attention_k_eq_v"] = false;
  config["num_key_value_heads"] = kv_heads.front();
  for (size_t i = 0; i < kv_heads.size(); ++i) {
    if (config["layer_types"][i] == kFull) continue;
    config["num_key_value_heads"] = kv_heads[i];
    break;
  }
  for (size_t i = 0; i < kv_heads.size(); ++i) {
    const bool own_keys = static_cast<int64_t>(i) < layers - shared;
    const bool lacks =
        std::binary_search(without_values.begin(), without_values.end(), static_cast<int64_t>(i));
    if (config["layer_types"][i] == kFull && own_keys && lacks) config["attention_k_eq_v"] = true;
    Json own = Json::object();
    if (config["layer_types"][i] == kFull && full_dim != sliding_dim) own["head_dim"] = full_dim;
    if (kv_heads[i] != config["num_key_value_heads"]) own["num_key_value_heads"] = kv_heads[i];
    if (!own.empty()) config["per_layer_config"][std::to_string(i)] = own;
  }
  config["use_double_wide_mlp"] = inner.back() != inner.front();
  config["hidden_size_per_layer_input"] = keys.integer_or("embedding_length_per_layer_input", 0);
  config["vocab_size_per_layer_input"] = config["vocab_size"];
  if (keys.has("final_logit_softcapping")) {
    config["final_logit_softcapping"] = shortest_decimal(keys.number_or("final_logit_softcapping", 0));
  }
  read_experts(file, config);
  read_ropes(file, full_dim, sliding_dim, config);
  return parse_decoder_config(config, what);
}

GgufRole gemma4_gguf_role(const GgufTensor& tensor, const GgufMetadata&, const std::string&) {
  return gguf_named(tensor, kGemma4Names);
}

}  // namespace ropescope::families
