// Lists of tensors that families share.
#include <array>
#include <utility>

#include <fmt/format.h>

#include "ropescope/architectures/families/common.h"
#include "ropescope/architectures/gguf_names.h"

namespace ropescope::families {

RuleList::RuleList(const DecoderConfig& decoder, int64_t layer) : decoder_(decoder), prefix_("model.") {
  if (layer < 0) return;
  shape_ = &decoder.layer(layer);
  prefix_ = fmt::format("model.layers.{}.", layer);
}

void RuleList::add(TensorKind kind, const std::string& name, std::vector<int64_t> shape) {
  rules_.push_back({kind, prefix_ + name, std::move(shape)});
}

void RuleList::add_part(TensorKind kind, const std::string& name, std::vector<int64_t> shape,
                        int64_t first_row, int64_t stored_rows) {
  rules_.push_back({kind, prefix_ + name, std::move(shape), first_row, stored_rows});
}

void RuleList::norm(TensorKind kind, const std::string& name) {
  add(kind, name + ".weight", {decoder_.hidden_size});
}

void RuleList::attention() {
  const LayerShape& shape = *shape_;
  const bool own_keys = shape.keys_of < 0;
  const bool own_values = own_keys && !shape.value_from_key;
  const int64_t queries = shape.heads * shape.head_dim;
  const int64_t keys = shape.kv_heads * shape.head_dim;
  const int64_t values = shape.kv_heads * shape.value_dim;
  const int64_t query_rows = shape.output_gate ? 2 * queries : queries;
  const int64_t hidden = decoder_.hidden_size;
  add(TensorKind::kQuery, "self_attn.q_proj.weight", {query_rows, hidden});
  if (own_keys) add(TensorKind::kKey, "self_attn.k_proj.weight", {keys, hidden});
  if (own_values) add(TensorKind::kValue, "self_attn.v_proj.weight", {values, hidden});
  add(TensorKind::kAttentionOut, "self_attn.o_proj.weight", {hidden, shape.heads * shape.value_dim});
  if (decoder_.attention_bias) {
    add(TensorKind::kQueryBias, "self_attn.q_proj.bias", {query_rows});
    if (own_keys) add(TensorKind::kKeyBias, "self_attn.k_proj.bias", {keys});
    if (own_values) add(TensorKind::kValueBias, "self_attn.v_proj.bias", {values});
  }
  if (decoder_.attention_out_bias) add(TensorKind::kAttentionOutBias, "self_attn.o_proj.bias", {hidden});
  if (shape.qk_norm == QkNorm::kPerHead || shape.qk_norm == QkNorm::kAllHeads) {
    const bool all = shape.qk_norm == QkNorm::kAllHeads;
    add(TensorKind::kQueryNorm, "self_attn.q_norm.weight", {all ? queries : shape.head_dim});
    if (own_keys) add(TensorKind::kKeyNorm, "self_attn.k_norm.weight", {all ? keys : shape.head_dim});
  }
  if (shape.sinks) add(TensorKind::kSinks, "self_attn.sinks", {shape.heads});
}

void RuleList::feed_forward(const std::string& module, int64_t inner) {
  const int64_t hidden = decoder_.hidden_size;
  add(TensorKind::kGate, module + ".gate_proj.weight", {inner, hidden});
  add(TensorKind::kUp, module + ".up_proj.weight", {inner, hidden});
  add(TensorKind::kDown, module + ".down_proj.weight", {hidden, inner});
  if (!decoder_.mlp_bias) return;
  add(TensorKind::kGateBias, module + ".gate_proj.bias", {inner});
  add(TensorKind::kUpBias, module + ".up_proj.bias", {inner});
  add(TensorKind::kDownBias, module + ".down_proj.bias", {hidden});
}

void RuleList::shared_expert(const std::string& module, int64_t inner) {
  const int64_t hidden = decoder_.hidden_size;
  add(TensorKind::kSharedGate, module + ".gate_proj.weight", {inner, hidden});
  add(TensorKind::kSharedUp, module + ".up_proj.weight", {inner, hidden});
  add(TensorKind::kSharedDown, module + ".down_proj.weight", {hidden, inner});
}

void RuleList::fused_feed_forward() {
  const int64_t hidden = decoder_.hidden_size;
  const int64_t inner = shape_->inner;
  const std::string fused = "mlp.gate_up_proj.weight";
  add_part(TensorKind::kGate, fused, {inner, hidden}, 0, 2 * inner);
  add_part(TensorKind::kUp, fused, {inner, hidden}, inner, 2 * inner);
  add(TensorKind::kDown, "mlp.down_proj.weight", {hidden, inner});
}

std::vector<TensorRule> outside_rules(const DecoderConfig& decoder) {
  const std::vector<int64_t> table = {decoder.vocab_size, decoder.hidden_size};
  std::vector<TensorRule> rules = {{TensorKind::kEmbedding, "model.embed_tokens.weight", table},
                                   {TensorKind::kFinalNorm, "model.norm.weight", {decoder.hidden_size}}};
  if (!decoder.tie_word_embeddings) rules.push_back({TensorKind::kOutput, "lm_head.weight", table});
  return rules;
}

std::vector<TensorRule> llama_rules(const DecoderConfig& decoder, int64_t layer) {
  if (layer < 0) return outside_rules(decoder);
  RuleList rules(decoder, layer);
  rules.norm(TensorKind::kAttentionNorm, "input_layernorm");
  rules.attention();
  rules.norm(TensorKind::kMlpNorm, "post_attention_layernorm");
  if (rules.shape().inner > 0) rules.feed_forward("mlp", rules.shape().inner);
  return rules.take();
}

std::vector<TensorRule> gemma_rules(const DecoderConfig& decoder, int64_t layer) {
  if (layer < 0) return outside_rules(decoder);
  RuleList rules(decoder, layer);
  rules.norm(TensorKind::kAttentionNorm, "input_layernorm");
  rules.attention();
  rules.norm(TensorKind::kAttentionOutNorm, "post_attention_layernorm");
  rules.norm(TensorKind::kMlpNorm, "pre_feedforward_layernorm");
  rules.feed_forward("mlp", rules.shape().inner);
  rules.norm(TensorKind::kMlpOutNorm, "post_feedforward_layernorm");
  return rules.take();
}

std::vector<TensorRule> glm4_rules(const DecoderConfig& decoder, int64_t layer) {
  if (layer < 0) return outside_rules(decoder);
  RuleList rules(decoder, layer);
  rules.norm(TensorKind::kAttentionNorm, "input_layernorm");
  rules.attention();
  rules.norm(TensorKind::kAttentionOutNorm, "post_self_attn_layernorm");
  rules.norm(TensorKind::kMlpNorm, "post_attention_layernorm");
  rules.fused_feed_forward();
  rules.norm(TensorKind::kMlpOutNorm, "post_mlp_layernorm");
  return rules.take();
}

std::vector<TensorRule> olmo_rules(const DecoderConfig& decoder, int64_t layer) {
  if (layer < 0) return outside_rules(decoder);
  RuleList rules(decoder, layer);
  rules.attention();
  rules.norm(TensorKind::kAttentionOutNorm, "post_attention_layernorm");
  rules.feed_forward("mlp", rules.shape().inner);
  rules.norm(TensorKind::kMlpOutNorm, "post_feedforward_layernorm");
  return rules.take();
}

namespace {

constexpr std::array<GgufName, 3> kGemmaGgufNames = {{
    {"ffn_norm", "pre_feedforward_layernorm"},
    {"post_attention_norm", "post_attention_layernorm"},
    {"post_ffw_norm", "post_feedforward_layernorm"},
}};

}  // namespace

GgufRole gemma_gguf_role(const GgufTensor& tensor, const GgufMetadata&, const std::string&) {
  GgufRole role = gguf_named(tensor, kGemmaGgufNames);
  if (role.name.ends_with("norm.weight")) subtract_one(role);
  return role;
}

}  // namespace ropescope::families
