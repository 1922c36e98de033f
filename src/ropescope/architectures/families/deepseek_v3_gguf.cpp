// DeepSeek-V3 in GGUF files ("deepseek2"), which have kv_b_proj in two parts, one of them transposed.
#include "ropescope/architectures/families/deepseek_v3_gguf.h"

#include <array>

#include <ATen/ops/cat.h>

#include "ropescope/architectures/families/common.h"
#include "ropescope/architectures/families/families.h"
#include "ropescope/architectures/gguf_keys.h"
#include "ropescope/architectures/gguf_names.h"
#include "ropescope/architectures/shortest_decimal.h"
#include "ropescope/core/errors.h"
#include "ropescope/weights/size_count.h"

namespace ropescope::families {

namespace {

constexpr std::array<GgufName, 10> kDeepseekNames = {{
    {"attn_q_a", "self_attn.q_a_proj"},
    {"attn_q_a_norm", "self_attn.q_a_layernorm"},
    {"attn_q_b", "self_attn.q_b_proj"},
    {"attn_kv_a_mqa", "self_attn.kv_a_proj_with_mqa"},
    {"attn_kv_a_norm", "self_attn.kv_a_layernorm"},
    {"attn_kv_b", "self_attn.kv_b_proj"},
    {"exp_probs_b.bias", "mlp.gate.e_score_correction_bias"},
    {"ffn_gate_shexp", "mlp.shared_experts.gate_proj"},
    {"ffn_up_shexp", "mlp.shared_experts.up_proj"},
    {"ffn_down_shexp", "mlp.shared_experts.down_proj"},
}};

/// Sizes of kv_b's two parts.
struct LatentSizes {
  int64_t heads, rank, nope, value;
};

LatentSizes latent_sizes(const GgufMetadata& metadata, const std::string& what) {
  const GgufKeys keys(metadata, gguf_string(metadata, "general.architecture", what), what);
  LatentSizes sizes{};
  sizes.heads = keys.integer("attention.head_count");
  sizes.rank = keys.integer("attention.kv_lora_rank");
  sizes.nope = keys.integer("attention.key_length_mla") - keys.integer("rope.dimension_count");
  sizes.value = keys.integer("attention.value_length_mla");
  constexpr int64_t kMost = 1 << 24;
  for (const int64_t size : {sizes.heads, sizes.rank, sizes.nope, sizes.value}) {
    check_size(size, "sizes of the latent and of heads", kMost, what);
  }
  return sizes;
}

/// Per head [nope | value] rows, from [heads, rank, nope] and [heads, value, rank].
at::Tensor join_latent(const std::vector<at::Tensor>& stored) {
  const at::Tensor rows = at::cat({stored[0].transpose(1, 2), stored[1]}, 1);
  return rows.flatten(0, 1);
}

}  // namespace

DecoderConfig deepseek_gguf_config(const GgufContents& contents, std::span<const std::byte> bytes,
                                   const std::string& what) {
  const GgufFile file(contents, bytes, what);
  const GgufKeys& keys = file.keys;
  if (const int64_t gating = keys.integer_or("expert_gating_func", 1); gating != 2) {
    throw InputError("{}: {}: expected 2 (sigmoid, as in DeepSeek-V3), found {}", what,
                     keys.name("expert_gating_func"), gating);
  }
  Json config = gguf_common_json(file, kDeepseekV3.name);
  const bool split = keys.has("attention.key_length_mla");
  const int64_t key_length = keys.integer(split ? "attention.key_length_mla" : "attention.key_length");
  const int64_t rotated = keys.integer("rope.dimension_count");
  config["qk_rope_head_dim"] = rotated;
  config["qk_nope_head_dim"] = key_length - rotated;
  config["v_head_dim"] = keys.integer(split ? "attention.value_length_mla" : "attention.value_length");
  config["kv_lora_rank"] = keys.integer("attention.kv_lora_rank");
  config["q_lora_rank"] =
      keys.has("attention.q_lora_rank") ? Json(keys.integer("attention.q_lora_rank")) : Json();
  config["num_key_value_heads"] = config["num_attention_heads"];
  config["first_k_dense_replace"] = keys.integer_or("leading_dense_block_count", 0);
  config["n_routed_experts"] = keys.integer("expert_count");
  config["num_experts_per_tok"] = keys.integer("expert_used_count");
  config["moe_intermediate_size"] = keys.integer("expert_feed_forward_length");
  config["n_shared_experts"] = keys.integer_or("expert_shared_count", 0);
  config["norm_topk_prob"] = keys.bool_or("expert_weights_norm", false);
  config["routed_scaling_factor"] = shortest_decimal(keys.number_or("expert_weights_scale", 1));
  config["n_group"] = keys.integer_or("expert_group_count", 1);
  config["topk_group"] = keys.integer_or("expert_group_used_count", 1);
  if (rotated < 1) {
    throw InputError("{}: {}: expected at least 1, found {}", what, keys.name("rope.dimension_count"),
                     rotated);
  }
  config["rope_parameters"] = to_json(gguf_rope(file, rotated, {.all_dim_of_log = 10}));
  return parse_decoder_config(config, what);
}

GgufRole deepseek_gguf_role(const GgufTensor& tensor, const GgufMetadata& metadata, const std::string& what) {
  GgufRole role = gguf_named(tensor, kDeepseekNames);
  const bool keys = tensor.name.ends_with(".attn_k_b.weight");
  if (!keys && !tensor.name.ends_with(".attn_v_b.weight")) return role;
  const LatentSizes sizes = latent_sizes(metadata, what);
  const std::vector<int64_t> expected = keys ? std::vector{sizes.heads, sizes.rank, sizes.nope}
                                             : std::vector{sizes.heads, sizes.value, sizes.rank};
  if (tensor.shape != expected) {
    throw InputError("{}: tensor \"{}\": expected [{}, {}, {}] numbers by the metadata, found another shape",
                     what, tensor.name, expected[0], expected[1], expected[2]);
  }
  GgufTensor joined = tensor;
  joined.name.replace(joined.name.rfind("attn_"), std::string::npos, "attn_kv_b.weight");
  role = gguf_named(joined, kDeepseekNames);
  role.parts = 2;
  role.part = keys ? 0 : 1;
  role.make = join_latent;
  role.shape = {sizes.heads * (sizes.nope + sizes.value), sizes.rank};
  return role;
}

}  // namespace ropescope::families
