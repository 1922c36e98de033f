#include <utility>

#include "ropescope/architectures/families/common.h"
#include "ropescope/architectures/families/deepseek_v3_gguf.h"
#include "ropescope/architectures/families/families.h"
#include "ropescope/core/errors.h"
#include "ropescope/weights/size_count.h"

namespace ropescope::families {

namespace deepseek_v3_family {
namespace {

/// Sizes of a latent stay below this, so that sums and products with a number of heads fit.
constexpr int64_t kMostLatent = 1 << 24;

/// An integer, or `of_null` where the key is null.
int64_t integer_or_null(const Json& config, const char* key, int64_t fallback, int64_t of_null,
                        const std::string& what) {
  if (config.contains(key) && config[key].is_null()) return of_null;
  return json_integer_or(config, key, fallback, what);
}

LatentShape read_latent(const Json& config, const std::string& what) {
  LatentShape latent;
  latent.q_rank = integer_or_null(config, "q_lora_rank", 1536, 0, what);
  latent.kv_rank = json_integer_or(config, "kv_lora_rank", 512, what);
  latent.nope_dim = json_integer_or(config, "qk_nope_head_dim", 128, what);
  latent.rope_dim = json_integer_or(config, "qk_rope_head_dim", 64, what);
  for (const auto& [size, key] :
       {std::pair(latent.kv_rank, "kv_lora_rank"), std::pair(latent.nope_dim, "qk_nope_head_dim"),
        std::pair(latent.rope_dim, "qk_rope_head_dim")}) {
    check_size(size, key, kMostLatent, what);
  }
  if (latent.q_rank != 0) check_size(latent.q_rank, "q_lora_rank", kMostLatent, what);
  return latent;
}

ExpertShape read_experts(const Json& config, const std::string& what) {
  expect_key(config, "scoring_func", "sigmoid", what);
  expect_key(config, "topk_method", "noaux_tc", what);
  expect_key(config, "moe_layer_freq", 1, what);
  ExpertShape experts;
  const char* count_key = json_has(config, "n_routed_experts") ? "n_routed_experts" : "num_local_experts";
  experts.count = json_integer_or(config, count_key, 256, what);
  experts.chosen = json_integer_or(config, "num_experts_per_tok", 8, what);
  experts.inner = json_integer_or(config, "moe_intermediate_size", 2048, what);
  check_size(experts.inner, "moe_intermediate_size", INT32_MAX, what);
  const int64_t shared = integer_or_null(config, "n_shared_experts", 1, 0, what);
  if (shared != 0) check_size(shared, "n_shared_experts", 1024, what);
  experts.shared_inner = shared * experts.inner;
  experts.router = Router::kSigmoidGroups;
  experts.renormalise = json_bool_or(config, "norm_topk_prob", true, what);
  experts.weight_scale = positive_or(config, "routed_scaling_factor", 2.5, what);
  experts.groups = integer_or_null(config, "n_group", 8, 1, what);
  experts.chosen_groups = integer_or_null(config, "topk_group", 4, 1, what);
  return experts;
}

void parse(const Json& config, DecoderConfig& decoder, const std::string& what) {
  expect_key(config, "attention_bias", false, what);
  const LatentShape latent = read_latent(config, what);
  const ExpertShape experts = read_experts(config, what);
  decoder.pairing =
      json_bool_or(config, "rope_interleave", true, what) ? PairLayout::kAdjacent : PairLayout::kHalfSplit;
  decoder.num_key_value_heads = decoder.num_attention_heads;
  decoder.head_dim = latent.nope_dim + latent.rope_dim;
  decoder.ropes = {shared_rope(config, decoder, kDeepseekV3.defaults, what)};
  const int64_t value_dim = json_integer_or(config, "v_head_dim", 128, what);
  const int64_t dense = integer_or_null(config, "first_k_dense_replace", 3, 0, what);
  fill_equal_layers(decoder);
  for (size_t i = 0; i < decoder.layers.size(); ++i) {
    LayerShape& layer = decoder.layers[i];
    layer.mixer = Mixer::kLatent;
    layer.latent = latent;
    layer.value_dim = value_dim;
    layer.score_scale = latent_score_scale(decoder.head_dim, decoder.rope());
    if (static_cast<int64_t>(i) < dense) continue;
    layer.experts = experts;
    layer.inner = 0;
  }
}

void write(const DecoderConfig& decoder, Json& config) {
  write_rope(decoder, config);
  const LayerShape& first = decoder.layer(0);
  const LatentShape& latent = *first.latent;
  config["head_dim"] = latent.rope_dim;
  config["qk_head_dim"] = first.head_dim;
  config["qk_nope_head_dim"] = latent.nope_dim;
  config["qk_rope_head_dim"] = latent.rope_dim;
  config["v_head_dim"] = first.value_dim;
  config["kv_lora_rank"] = latent.kv_rank;
  config["q_lora_rank"] = latent.q_rank > 0 ? Json(latent.q_rank) : Json();
  config["rope_interleave"] = decoder.pairing == PairLayout::kAdjacent;
  config["attention_bias"] = false;
  int64_t dense = 0;
  for (const LayerShape& layer : decoder.layers) dense += layer.experts ? 0 : 1;
  config["first_k_dense_replace"] = dense;
  const auto& experts = decoder.layers.back().experts;
  if (!experts) return;
  config["n_routed_experts"] = experts->count;
  config["num_experts_per_tok"] = experts->chosen;
  config["moe_intermediate_size"] = experts->inner;
  config["n_shared_experts"] = experts->shared_inner / experts->inner;
  config["norm_topk_prob"] = experts->renormalise;
  config["routed_scaling_factor"] = experts->weight_scale;
  config["n_group"] = experts->groups;
  config["topk_group"] = experts->chosen_groups;
}

std::vector<TensorRule> tensors(const DecoderConfig& decoder, int64_t layer) {
  if (layer < 0) return outside_rules(decoder);
  RuleList rules(decoder, layer);
  const LayerShape& shape = rules.shape();
  const LatentShape& latent = *shape.latent;
  const int64_t hidden = decoder.hidden_size;
  const int64_t queries = shape.heads * shape.head_dim;
  rules.norm(TensorKind::kAttentionNorm, "input_layernorm");
  if (latent.q_rank > 0) {
    rules.add(TensorKind::kQueryDown, "self_attn.q_a_proj.weight", {latent.q_rank, hidden});
    rules.add(TensorKind::kQueryDownNorm, "self_attn.q_a_layernorm.weight", {latent.q_rank});
    rules.add(TensorKind::kQuery, "self_attn.q_b_proj.weight", {queries, latent.q_rank});
  } else {
    rules.add(TensorKind::kQuery, "self_attn.q_proj.weight", {queries, hidden});
  }
  rules.add(TensorKind::kLatentDown, "self_attn.kv_a_proj_with_mqa.weight",
            {latent.kv_rank + latent.rope_dim, hidden});
  rules.add(TensorKind::kLatentNorm, "self_attn.kv_a_layernorm.weight", {latent.kv_rank});
  rules.add(TensorKind::kLatentUp, "self_attn.kv_b_proj.weight",
            {shape.heads * (latent.nope_dim + shape.value_dim), latent.kv_rank});
  rules.add(TensorKind::kAttentionOut, "self_attn.o_proj.weight", {hidden, shape.heads * shape.value_dim});
  rules.norm(TensorKind::kMlpNorm, "post_attention_layernorm");
  if (const auto& experts = shape.experts) {
    rules.add(TensorKind::kRouter, "mlp.gate.weight", {experts->count, hidden});
    rules.add(TensorKind::kRouterCorrection, "mlp.gate.e_score_correction_bias", {experts->count});
    if (experts->shared_inner > 0) rules.shared_expert("mlp.shared_experts", experts->shared_inner);
  } else {
    rules.feed_forward("mlp", shape.inner);
  }
  return rules.take();
}

}  // namespace
}  // namespace deepseek_v3_family

const Architecture kDeepseekV3 = {
    .name = "deepseek_v3",
    .summary =
        "Keys and values from a latent; only a part of each head that all heads share turns, under yarn.",
    .source = "DeepSeek-V3 and R1 (arXiv 2412.19437)",
    .model_types = {"deepseek_v3"},
    .classes = {"DeepseekV3ForCausalLM", "DeepseekV3Model"},
    .defaults = {.max_position_embeddings = 4096, .head_dim = 0, .bos_token_id = 0, .eos_token_ids = {1}},
    .quantization = "fp8",
    .parse = deepseek_v3_family::parse,
    .write = deepseek_v3_family::write,
    .tensors = deepseek_v3_family::tensors,
    .gguf = {{"deepseek2", deepseek_gguf_config, deepseek_gguf_role}},
};

}  // namespace ropescope::families
