#include <algorithm>
#include <array>

#include "ropescope/architectures/families/common.h"
#include "ropescope/architectures/families/families.h"
#include "ropescope/architectures/gguf_keys.h"
#include "ropescope/architectures/gguf_names.h"
#include "ropescope/core/errors.h"

namespace ropescope::families {

namespace llama4_family {
namespace {

/// true, or a number that is not 0 as in early files.
bool flag_or(const Json& config, const char* key, bool fallback, const std::string& what) {
  const Json* found = json_find(config, key);
  if (found != nullptr && found->is_number()) return *found != 0;
  return json_bool_or(config, key, fallback, what);
}

ExpertShape read_experts(const Json& config, const std::string& what) {
  ExpertShape experts;
  experts.count = json_integer_or(config, "num_local_experts", 16, what);
  experts.chosen = json_integer_or(config, "num_experts_per_tok", 1, what);
  experts.inner = json_integer_or(config, "intermediate_size", 8192, what);
  experts.shared_inner = experts.inner;
  experts.router = Router::kSigmoidOnInput;
  experts.form = ExpertForm::kStackedInOut;
  return experts;
}

/// `moe_layers`, or every `interleave_moe_layer_step`-th.
std::vector<bool> sparse_layers(const Json& config, const DecoderConfig& decoder, const std::string& what) {
  std::vector<bool> sparse(decoder.layers.size(), false);
  if (json_has(config, "moe_layers")) {
    for (const int64_t layer : integers(config, "moe_layers", what)) {
      if (layer < 0 || layer >= decoder.num_hidden_layers) {
        throw InputError("{}: \"moe_layers\": expected numbers below {}, found {}", what,
                         decoder.num_hidden_layers, layer);
      }
      sparse[static_cast<size_t>(layer)] = true;
    }
    return sparse;
  }
  const auto step = static_cast<size_t>(period_or(config, "interleave_moe_layer_step", 1, what));
  for (size_t layer = 0; layer < sparse.size(); ++layer) sparse[layer] = (layer + 1) % step == 0;
  return sparse;
}

int64_t chunk_of(const Json& config, const std::string& what) {
  constexpr const char* kKey = "attention_chunk_size";
  if (config.contains(kKey) && config[kKey].is_null()) return 0;
  const int64_t chunk = json_integer_or(config, kKey, 8192, what);
  if (chunk < 1) throw InputError("{}: \"{}\": expected at least 1, found {}", what, kKey, chunk);
  return chunk;
}

void parse(const Json& config, DecoderConfig& decoder, const std::string& what) {
  read_attention_bias(config, decoder, false, what);
  decoder.pairing = PairLayout::kAdjacent;
  decoder.ropes = {shared_rope(config, decoder, kLlama4.defaults, what)};
  const std::vector<bool> rotates = rotating_layers(config, decoder, what);
  const int64_t chunk = chunk_of(config, what);
  const KindOf kind_of = [&](int64_t layer) {
    return chunk > 0 && rotates[static_cast<size_t>(layer)] ? kChunked : kFull;
  };
  fill_layers(decoder, layer_kinds(config, decoder, {kFull, kChunked}, kind_of, what), 0, what);
  const std::vector<bool> sparse = sparse_layers(config, decoder, what);
  const ExpertShape experts = read_experts(config, what);
  const bool norm = json_bool_or(config, "use_qk_norm", true, what);
  QueryTemperature temperature;
  temperature.slope = positive_or(config, "attn_scale", 0.1, what);
  temperature.period = static_cast<double>(period_or(config, "floor_scale", 8192, what));
  temperature.shift = 1;
  const bool tuned = flag_or(config, "attn_temperature_tuning", true, what);
  for (size_t i = 0; i < decoder.layers.size(); ++i) {
    LayerShape& layer = decoder.layers[i];
    if (layer.kind == kChunked) {
      if (chunk == 0) {
        throw InputError(
            "{}: \"attention_chunk_size\": expected a number for layer {} of the kind {}, found none", what,
            i, kChunked);
      }
      layer.chunk = chunk;
    }
    if (!rotates[i]) layer.rope = kNoRope;
    if (rotates[i] && norm) layer.qk_norm = QkNorm::kAfterRotation;
    if (!rotates[i] && tuned) layer.temperature = temperature;
    if (!sparse[i]) continue;
    layer.experts = experts;
    layer.inner = 0;
  }
}

void write(const DecoderConfig& decoder, Json& config) {
  write_rope(decoder, config);
  config["attention_bias"] = decoder.attention_bias;
  config["layer_types"] = kinds_json(decoder);
  config["attention_chunk_size"] = Json();
  config["no_rope_layers"] = Json::array();
  config["moe_layers"] = Json::array();
  config["use_qk_norm"] = false;
  config["attn_temperature_tuning"] = false;
  config["intermediate_size_mlp"] = decoder.intermediate_size;
  for (size_t i = 0; i < decoder.layers.size(); ++i) {
    const LayerShape& layer = decoder.layers[i];
    config["no_rope_layers"].push_back(layer.rotates() ? 1 : 0);
    if (layer.chunk > 0) config["attention_chunk_size"] = layer.chunk;
    if (layer.qk_norm != QkNorm::kNone) config["use_qk_norm"] = true;
    if (layer.temperature) {
      config["attn_temperature_tuning"] = true;
      config["attn_scale"] = layer.temperature->slope;
      config["floor_scale"] = static_cast<int64_t>(layer.temperature->period);
    }
    if (!layer.experts) continue;
    config["moe_layers"].push_back(i);
    config["num_local_experts"] = layer.experts->count;
    config["num_experts_per_tok"] = layer.experts->chosen;
    config["intermediate_size"] = layer.experts->inner;
  }
}

std::vector<TensorRule> tensors(const DecoderConfig& decoder, int64_t layer) {
  if (layer < 0) return outside_rules(decoder);
  RuleList rules(decoder, layer);
  rules.norm(TensorKind::kAttentionNorm, "input_layernorm");
  rules.attention();
  rules.norm(TensorKind::kMlpNorm, "post_attention_layernorm");
  if (const auto& experts = rules.shape().experts) {
    rules.add(TensorKind::kRouter, "feed_forward.router.weight", {experts->count, decoder.hidden_size});
    rules.shared_expert("feed_forward.shared_expert", experts->shared_inner);
  } else {
    rules.feed_forward("feed_forward", rules.shape().inner);
  }
  return rules.take();
}

DecoderConfig parse_gguf_config(const GgufContents& contents, std::span<const std::byte> bytes,
                                const std::string& what) {
  const GgufFile file(contents, bytes, what);
  Json config = gguf_common_json(file, kLlama4.name);
  config["rope_parameters"] = to_json(gguf_rope(file, config["head_dim"]));
  config["intermediate_size_mlp"] = config["intermediate_size"];
  config["intermediate_size"] = file.keys.integer("expert_feed_forward_length");
  config["num_local_experts"] = file.keys.integer("expert_count");
  config["num_experts_per_tok"] = file.keys.integer("expert_used_count");
  config["interleave_moe_layer_step"] = file.keys.integer("interleave_moe_layer_step");
  // Not in the file: chunks of 8192 tokens, every fourth layer without rotation, its temperature, and the norms of q and
  // k, which Maverick (128 experts) has not. Where the window is 0, every layer rotates and sees all.
  config["use_qk_norm"] = config["num_local_experts"] != 128;
  if (file.keys.integer_or("attention.sliding_window", 8192) == 0) {
    config["attention_chunk_size"] = Json();
    config["no_rope_layers"] =
        std::vector<int64_t>(static_cast<size_t>(std::min<int64_t>(file.layers(), 100'000)), 1);
  }
  return parse_decoder_config(config, what);
}

constexpr std::array<GgufName, 10> kNames = {{
    {"ffn_gate", "feed_forward.gate_proj"},
    {"ffn_up", "feed_forward.up_proj"},
    {"ffn_down", "feed_forward.down_proj"},
    {"ffn_gate_inp", "feed_forward.router"},
    {"ffn_gate_exps", "feed_forward.experts.gate_proj"},
    {"ffn_up_exps", "feed_forward.experts.up_proj"},
    {"ffn_down_exps", "feed_forward.experts.down_proj"},
    {"ffn_gate_shexp", "feed_forward.shared_expert.gate_proj"},
    {"ffn_up_shexp", "feed_forward.shared_expert.up_proj"},
    {"ffn_down_shexp", "feed_forward.shared_expert.down_proj"},
}};

GgufRole role(const GgufTensor& tensor, const GgufMetadata&, const std::string&) {
  return gguf_named(tensor, kNames);
}

}  // namespace
}  // namespace llama4_family

const Architecture kLlama4 = {
    .name = "llama4_text",
    .summary =
        "Rotation of adjacent channels within chunks; every fourth layer sees all and does not rotate.",
    .source = "Llama 4 (huggingface.co/meta-llama/Llama-4-Scout-17B-16E)",
    .model_types = {"llama4_text"},
    .classes = {"Llama4ForCausalLM", "Llama4TextModel"},
    .wrappers = {"llama4"},
    .defaults = {.max_position_embeddings = 131072,
                 .num_key_value_heads = 8,
                 .head_dim = 128,
                 .norm_eps = 1e-5,
                 .rope_theta = 500000,
                 .bos_token_id = 1,
                 .eos_token_ids = {2},
                 .vocab_size = 202048,
                 .hidden_size = 5120,
                 .intermediate_size = 16384,
                 .num_hidden_layers = 48,
                 .num_attention_heads = 40,
                 .intermediate_size_key = "intermediate_size_mlp"},
    .experts = "feed_forward.experts",
    .parse = llama4_family::parse,
    .write = llama4_family::write,
    .tensors = llama4_family::tensors,
    .gguf = {{"llama4", llama4_family::parse_gguf_config, llama4_family::role}},
};

}  // namespace ropescope::families
