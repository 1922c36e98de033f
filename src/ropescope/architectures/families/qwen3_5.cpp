#include "ropescope/architectures/families/common.h"
#include "ropescope/architectures/families/families.h"
#include "ropescope/architectures/families/qwen3_5_gguf.h"
#include "ropescope/core/errors.h"

namespace ropescope::families {

namespace qwen3_5_family {
namespace {

void parse(const Json& config, DecoderConfig& decoder, const std::string& what) {
  read_attention_bias(config, decoder, false, what);
  decoder.norm = NormKind::kRmsAddOne;
  read_rope_with_axes(config, decoder, kQwen35.defaults,
                      {.interleaved = true, .frame_step = 1, .sections = {11, 11, 10}}, what);
  const KindOf pattern = full_every(period_or(config, "full_attention_interval", 4, what), kLinear);
  fill_layers(decoder, layer_kinds(config, decoder, {kFull, kLinear}, pattern, what), 0, what);
  DeltaShape delta;
  delta.key_heads = json_integer_or(config, "linear_num_key_heads", 16, what);
  delta.value_heads = json_integer_or(config, "linear_num_value_heads", 32, what);
  delta.key_dim = json_integer_or(config, "linear_key_head_dim", 128, what);
  delta.value_dim = json_integer_or(config, "linear_value_head_dim", 128, what);
  delta.kernel = json_integer_or(config, "linear_conv_kernel_dim", 4, what);
  for (LayerShape& layer : decoder.layers) {
    if (layer.kind == kFull) {
      layer.qk_norm = QkNorm::kPerHead;
      layer.output_gate = true;
      continue;
    }
    LayerShape linear;
    linear.kind = kLinear;
    linear.mixer = Mixer::kDeltaRule;
    linear.rope = kNoRope;
    linear.inner = layer.inner;
    linear.delta = delta;
    layer = linear;
  }
}

void write(const DecoderConfig& decoder, Json& config) {
  write_rope_with_axes(decoder, config);
  config["attention_bias"] = decoder.attention_bias;
  config["layer_types"] = kinds_json(decoder);
  for (const LayerShape& layer : decoder.layers) {
    if (!layer.delta) continue;
    config["linear_num_key_heads"] = layer.delta->key_heads;
    config["linear_num_value_heads"] = layer.delta->value_heads;
    config["linear_key_head_dim"] = layer.delta->key_dim;
    config["linear_value_head_dim"] = layer.delta->value_dim;
    config["linear_conv_kernel_dim"] = layer.delta->kernel;
  }
}

std::vector<TensorRule> tensors(const DecoderConfig& decoder, int64_t layer) {
  if (layer < 0) return outside_rules(decoder);
  if (decoder.layer(layer).has_qk()) return llama_rules(decoder, layer);
  RuleList rules(decoder, layer);
  const DeltaShape& delta = *rules.shape().delta;
  const int64_t hidden = decoder.hidden_size;
  const int64_t values = delta.value_heads * delta.value_dim;
  const int64_t channels = 2 * delta.key_heads * delta.key_dim + values;
  rules.norm(TensorKind::kAttentionNorm, "input_layernorm");
  rules.add(TensorKind::kDeltaInput, "linear_attn.in_proj_qkv.weight", {channels, hidden});
  rules.add(TensorKind::kDeltaGate, "linear_attn.in_proj_z.weight", {values, hidden});
  rules.add(TensorKind::kDeltaStep, "linear_attn.in_proj_a.weight", {delta.value_heads, hidden});
  rules.add(TensorKind::kDeltaBeta, "linear_attn.in_proj_b.weight", {delta.value_heads, hidden});
  rules.add(TensorKind::kDeltaKernel, "linear_attn.conv1d.weight", {channels, 1, delta.kernel});
  rules.add(TensorKind::kDeltaDecay, "linear_attn.A_log", {delta.value_heads});
  rules.add(TensorKind::kDeltaBias, "linear_attn.dt_bias", {delta.value_heads});
  rules.add(TensorKind::kDeltaNorm, "linear_attn.norm.weight", {delta.value_dim});
  rules.add(TensorKind::kAttentionOut, "linear_attn.out_proj.weight", {hidden, values});
  rules.norm(TensorKind::kMlpNorm, "post_attention_layernorm");
  rules.feed_forward("mlp", rules.shape().inner);
  return rules.take();
}

}  // namespace
}  // namespace qwen3_5_family

const Architecture kQwen35 = {
    .name = "qwen3_5_text",
    .summary =
        "Three of four layers are recurrent and have no positions; the fourth turns a quarter of each head.",
    .source = "Qwen3.5 (huggingface.co/Qwen/Qwen3.5-27B); gated delta rule: arXiv 2412.06464",
    .model_types = {"qwen3_5_text"},
    .classes = {"Qwen3_5ForCausalLM", "Qwen3_5TextModel"},
    .wrappers = {"qwen3_5"},
    .defaults = {.max_position_embeddings = 32768,
                 .num_key_value_heads = 4,
                 .head_dim = 256,
                 .partial_rotary_factor = 0.25,
                 .vocab_size = 248320,
                 .hidden_size = 4096,
                 .intermediate_size = 12288,
                 .num_hidden_layers = 32,
                 .num_attention_heads = 16},
    .parse = qwen3_5_family::parse,
    .write = qwen3_5_family::write,
    .tensors = qwen3_5_family::tensors,
    .gguf = {{"qwen35", qwen3_5_gguf_config, qwen3_5_gguf_role}},
};

}  // namespace ropescope::families
