#include <array>

#include "ropescope/architectures/families/common.h"
#include "ropescope/architectures/families/families.h"
#include "ropescope/architectures/gguf_keys.h"
#include "ropescope/architectures/gguf_names.h"

namespace ropescope::families {

namespace gpt_oss_family {
namespace {

void parse(const Json& config, DecoderConfig& decoder, const std::string& what) {
  read_attention_bias(config, decoder, true, what);
  expect_key(config, "swiglu_alpha", 1.702, what);
  Json own = config;
  const bool old = json_has(config, "rope_scaling") && !config["rope_scaling"].empty();
  if (!old && !json_has(config, "rope_parameters")) {
    own["rope_parameters"] = {{"rope_type", "yarn"}, {"factor", 32.0},
                              {"beta_fast", 32.0},   {"beta_slow", 1.0},
                              {"truncate", false},   {"original_max_position_embeddings", 4096}};
  }
  decoder.ropes = {shared_rope(own, decoder, kGptOss.defaults, what)};
  fill_layers(decoder, layer_kinds(config, decoder, {kFull, kSliding}, full_every(2), what),
              window_or(config, 128, what), what);
  ExpertShape experts;
  experts.count = json_integer_or(config, "num_local_experts", 128, what);
  experts.chosen = json_integer_or(config, "num_experts_per_tok", 4, what);
  experts.inner = decoder.intermediate_size;
  experts.router = Router::kSoftmaxOfChosen;
  experts.form = ExpertForm::kStackedInOutAlternating;
  experts.clamp = positive_or(config, "swiglu_limit", 7, what);
  for (LayerShape& layer : decoder.layers) {
    layer.sinks = true;
    layer.inner = 0;
    layer.experts = experts;
  }
}

void write(const DecoderConfig& decoder, Json& config) {
  write_rope(decoder, config);
  const ExpertShape& experts = *decoder.layer(0).experts;
  config["attention_bias"] = decoder.attention_bias;
  config["layer_types"] = kinds_json(decoder);
  config["sliding_window"] = window_json(decoder);
  config["num_local_experts"] = experts.count;
  config["num_experts_per_tok"] = experts.chosen;
  config["swiglu_limit"] = experts.clamp;
}

std::vector<TensorRule> tensors(const DecoderConfig& decoder, int64_t layer) {
  std::vector<TensorRule> rules = llama_rules(decoder, layer);
  if (layer < 0) return rules;
  RuleList own(decoder, layer);
  const int64_t count = own.shape().experts->count;
  own.add(TensorKind::kRouter, "mlp.router.weight", {count, decoder.hidden_size});
  own.add(TensorKind::kRouterBias, "mlp.router.bias", {count});
  for (TensorRule& rule : own.take()) rules.push_back(std::move(rule));
  return rules;
}

DecoderConfig parse_gguf_config(const GgufContents& contents, std::span<const std::byte> bytes,
                                const std::string& what) {
  const GgufFile file(contents, bytes, what);
  Json config = gguf_common_json(file, kGptOss.name);
  config["rope_parameters"] = to_json(gguf_rope(file, config["head_dim"]));
  // Not in the file: as the published models have it (llama.cpp rounds the bounds).
  if (config["rope_parameters"]["rope_type"] == "yarn") config["rope_parameters"]["truncate"] = false;
  config["layer_types"] = gguf_kinds(file, 2);
  config["sliding_window"] = file.keys.integer("attention.sliding_window");
  config["num_local_experts"] = file.keys.integer("expert_count");
  config["num_experts_per_tok"] = file.keys.integer("expert_used_count");
  config["intermediate_size"] = file.keys.integer("expert_feed_forward_length");
  return parse_decoder_config(config, what);
}

constexpr std::array<GgufName, 4> kNames = {{
    {"attn_sinks.weight", "self_attn.sinks"},
    {"post_attention_norm", "post_attention_layernorm"},
    {"attn_post_norm", "post_attention_layernorm"},
    {"ffn_gate_inp", "mlp.router"},
}};

GgufRole role(const GgufTensor& tensor, const GgufMetadata&, const std::string&) {
  return gguf_named(tensor, kNames);
}

}  // namespace
}  // namespace gpt_oss_family

const Architecture kGptOss = {
    .name = "gpt_oss",
    .summary =
        "Rotation by halves under yarn with an unrounded ramp; every other layer sees a window of 128.",
    .source = "gpt-oss (arXiv 2508.10925)",
    .model_types = {"gpt_oss"},
    .classes = {"GptOssForCausalLM", "GptOssModel"},
    .defaults = {.max_position_embeddings = 131072,
                 .num_key_value_heads = 8,
                 .head_dim = 64,
                 .norm_eps = 1e-5,
                 .rope_theta = 150000},
    .quantization = "mxfp4",
    .parse = gpt_oss_family::parse,
    .write = gpt_oss_family::write,
    .tensors = gpt_oss_family::tensors,
    .gguf = {{"gpt-oss", gpt_oss_family::parse_gguf_config, gpt_oss_family::role}},
};

}  // namespace ropescope::families
