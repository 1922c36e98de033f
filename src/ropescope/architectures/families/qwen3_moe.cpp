#include <algorithm>

#include "ropescope/architectures/families/common.h"
#include "ropescope/architectures/families/families.h"
#include "ropescope/architectures/gguf_keys.h"
#include "ropescope/architectures/gguf_names.h"
#include "ropescope/core/errors.h"

namespace ropescope::families {

namespace qwen3_moe_family {
namespace {

void parse(const Json& config, DecoderConfig& decoder, const std::string& what) {
  read_attention_bias(config, decoder, false, what);
  decoder.ropes = {shared_rope(config, decoder, kQwen3Moe.defaults, what)};
  fill_qwen_layers(config, decoder, 0, false, what);
  ExpertShape experts;
  const char* count_key = json_has(config, "num_experts") ? "num_experts" : "num_local_experts";
  experts.count = json_integer_or(config, count_key, 128, what);
  experts.chosen = json_integer_or(config, "num_experts_per_tok", 8, what);
  experts.inner = json_integer_or(config, "moe_intermediate_size", 768, what);
  experts.renormalise = json_bool_or(config, "norm_topk_prob", false, what);
  const std::vector<int64_t> dense = integers(config, "mlp_only_layers", what);
  const int64_t step = period_or(config, "decoder_sparse_step", 1, what);
  for (int64_t i = 0; i < decoder.num_hidden_layers; ++i) {
    LayerShape& layer = decoder.layers[static_cast<size_t>(i)];
    layer.qk_norm = QkNorm::kPerHead;
    const bool listed = std::find(dense.begin(), dense.end(), i) != dense.end();
    if (experts.count == 0 || listed || (i + 1) % step != 0) continue;
    layer.experts = experts;
    layer.inner = 0;
  }
}

void write(const DecoderConfig& decoder, Json& config) {
  write_rope(decoder, config);
  const Json window = window_json(decoder);
  config["use_sliding_window"] = !window.is_null();
  config["sliding_window"] = window;
  config["attention_bias"] = decoder.attention_bias;
  config["decoder_sparse_step"] = 1;
  config["mlp_only_layers"] = Json::array();
  config["num_local_experts"] = 0;
  for (size_t i = 0; i < decoder.layers.size(); ++i) {
    const auto& experts = decoder.layers[i].experts;
    if (!experts) {
      config["mlp_only_layers"].push_back(i);
      continue;
    }
    config["num_local_experts"] = experts->count;
    config["num_experts_per_tok"] = experts->chosen;
    config["moe_intermediate_size"] = experts->inner;
    config["norm_topk_prob"] = experts->renormalise;
  }
}

std::vector<TensorRule> tensors(const DecoderConfig& decoder, int64_t layer) {
  std::vector<TensorRule> rules = llama_rules(decoder, layer);
  if (layer < 0 || !decoder.layer(layer).experts) return rules;
  RuleList own(decoder, layer);
  own.add(TensorKind::kRouter, "mlp.gate.weight", {own.shape().experts->count, decoder.hidden_size});
  for (TensorRule& rule : own.take()) rules.push_back(std::move(rule));
  return rules;
}

DecoderConfig parse_gguf_config(const GgufContents& contents, std::span<const std::byte> bytes,
                                const std::string& what) {
  const GgufFile file(contents, bytes, what);
  Json config = gguf_common_json(file, kQwen3Moe.name);
  config["rope_parameters"] = to_json(gguf_rope(file, config["head_dim"]));
  config["num_local_experts"] = file.keys.integer("expert_count");
  config["num_experts_per_tok"] = file.keys.integer("expert_used_count");
  config["moe_intermediate_size"] = file.keys.integer("expert_feed_forward_length");
  config["norm_topk_prob"] = true;  // not in the file; all published models say so, and llama.cpp assumes it
  config["mlp_only_layers"] = gguf_layers_without(file, "ffn_gate_inp.weight");
  return parse_decoder_config(config, what);
}

}  // namespace
}  // namespace qwen3_moe_family

const Architecture kQwen3Moe = {
    .name = "qwen3_moe",
    .summary = "Qwen3's attention over layers of experts.",
    .source = "Qwen3 (arXiv 2505.09388)",
    .model_types = {"qwen3_moe"},
    .classes = {"Qwen3MoeForCausalLM", "Qwen3MoeModel"},
    .defaults = {.max_position_embeddings = 32768, .num_key_value_heads = 4},
    .parse = qwen3_moe_family::parse,
    .write = qwen3_moe_family::write,
    .tensors = qwen3_moe_family::tensors,
    .gguf = {{"qwen3moe", qwen3_moe_family::parse_gguf_config, gguf_plain_role}},
};

}  // namespace ropescope::families
