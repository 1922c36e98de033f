#include <cmath>
#include <map>

#include <fmt/format.h>

#include "ropescope/architectures/families/common.h"
#include "ropescope/architectures/families/families.h"
#include "ropescope/architectures/families/gemma4_gguf.h"
#include "ropescope/core/errors.h"

namespace ropescope::families {

namespace gemma4_family {
namespace {

/// Head sizes of full layers: `per_layer_config` (transformers 5.24), or `global_head_dim` and
/// `num_global_key_value_heads` (files on the hub).
void read_head_sizes(const Json& config, DecoderConfig& decoder, bool value_from_key,
                     const std::string& what) {
  const Json* per_layer = json_find(config, "per_layer_config");
  if (per_layer == nullptr) {
    const int64_t head_dim = json_integer_or(config, "global_head_dim", 512, what);
    for (LayerShape& layer : decoder.layers) {
      if (layer.kind != kFull) continue;
      layer.head_dim = head_dim;
      if (value_from_key) {
        layer.kv_heads = json_integer_or(config, "num_global_key_value_heads", layer.kv_heads, what);
      }
    }
    return;
  }
  if (!per_layer->is_object()) throw InputError("{}: \"per_layer_config\": expected an object", what);
  for (const auto& [index, settings] : per_layer->items()) {
    const bool digits =
        !index.empty() && index.size() < 7 && index.find_first_not_of("0123456789") == std::string::npos;
    const size_t place = digits ? std::stoul(index) : decoder.layers.size();
    if (place >= decoder.layers.size() || !settings.is_object()) {
      throw InputError("{}: \"per_layer_config\": expected an object for one of {} layers, found \"{}\"",
                       what, decoder.layers.size(), index.substr(0, 40));
    }
    LayerShape& layer = decoder.layers[place];
    for (const auto& [key, value] : settings.items()) {
      if (key != "head_dim" && key != "num_key_value_heads") {
        throw UnsupportedModel(
            "{}: \"per_layer_config\": expected head_dim and num_key_value_heads, found \"{}\"", what,
            key.substr(0, 40));
      }
    }
    layer.head_dim = json_integer_or(settings, "head_dim", layer.head_dim, what);
    layer.kv_heads = json_integer_or(settings, "num_key_value_heads", layer.kv_heads, what);
  }
}

/// The last layers take keys and values of the last earlier layer of their kind.
void share_keys(const Json& config, DecoderConfig& decoder, const std::string& what) {
  const int64_t shared = json_integer_or(config, "num_kv_shared_layers", 0, what);
  if (shared == 0) return;
  if (shared < 0 || shared >= decoder.num_hidden_layers) {
    throw InputError("{}: \"num_kv_shared_layers\": expected a number from 0 to {}, found {}", what,
                     decoder.num_hidden_layers - 1, shared);
  }
  const bool wide = json_bool_or(config, "use_double_wide_mlp", false, what);
  const int64_t first = decoder.num_hidden_layers - shared;
  std::map<std::string, int64_t> sources;
  for (int64_t i = 0; i < first; ++i) sources[decoder.layer(i).kind] = i;
  for (int64_t i = first; i < decoder.num_hidden_layers; ++i) {
    LayerShape& layer = decoder.layers[static_cast<size_t>(i)];
    const auto source = sources.find(layer.kind);
    if (source == sources.end()) {
      throw InputError(
          "{}: \"num_kv_shared_layers\": layer {} ({}) has no earlier layer of its kind to share with", what,
          i, layer.kind);
    }
    layer.keys_of = source->second;
    if (wide) layer.inner *= 2;
  }
}

void read_experts(const Json& config, DecoderConfig& decoder, const std::string& what) {
  if (!json_bool_or(config, "enable_moe_block", false, what)) return;
  ExpertShape experts;
  experts.count = json_integer(config, "num_experts", what);
  experts.chosen = json_integer(config, "top_k_experts", what);
  experts.inner = json_integer(config, "moe_intermediate_size", what);
  experts.router = Router::kScaledSoftmax;
  experts.form = ExpertForm::kStackedOutIn;
  experts.renormalise = true;
  for (LayerShape& layer : decoder.layers) layer.experts = experts;
}

void read_layer_inputs(const Json& config, DecoderConfig& decoder, const std::string& what) {
  decoder.layer_input_dim = json_integer_or(config, "hidden_size_per_layer_input", 256, what);
  if (decoder.layer_input_dim == 0) return;
  const int64_t rows = json_integer_or(config, "vocab_size_per_layer_input", 262144, what);
  if (rows != decoder.vocab_size) {
    throw UnsupportedModel("{}: \"vocab_size_per_layer_input\": expected vocab_size ({}), found {}", what,
                           decoder.vocab_size, rows);
  }
}

void parse(const Json& config, DecoderConfig& decoder, const std::string& what) {
  read_attention_bias(config, decoder, false, what);
  if (json_has(config, "use_bidirectional_attention")) {
    expect_key(config, "use_bidirectional_attention", "vision", what);
  }
  decoder.embedding_scale = std::sqrt(static_cast<double>(decoder.hidden_size));
  decoder.logit_softcap = softcap_or(config, "final_logit_softcapping", 0, what);
  decoder.output_scale = true;
  read_layer_inputs(config, decoder, what);
  std::vector<std::string> kinds = layer_kinds(config, decoder, {kFull, kSliding}, full_every(6), what);
  kinds.back() = kFull;  // as the class forces it
  fill_layers(decoder, kinds, window_or(config, 512, what), what);
  const bool value_from_key = json_bool_or(config, "attention_k_eq_v", false, what);
  read_head_sizes(config, decoder, value_from_key, what);
  for (LayerShape& layer : decoder.layers) {
    layer.value_dim = layer.head_dim;
    layer.score_scale = 1;
    layer.qk_norm = QkNorm::kPerHead;
    layer.value_norm = true;
    layer.value_from_key = value_from_key && layer.kind == kFull;
  }
  share_keys(config, decoder, what);
  read_experts(config, decoder, what);
  Json full = rope_parameters_of(config, kFull, what);
  if (full.empty()) full = {{"rope_type", "proportional"}, {"partial_rotary_factor", 0.25}};
  const int64_t length = decoder.max_position_embeddings;
  set_ropes(decoder, read_rope_of_kind(full, {kGemma4.defaults.rope_theta, 1}, length, what),
            read_rope_of_kind(rope_parameters_of(config, kSliding, what), {10000, 1}, length, what));
}

void write(const DecoderConfig& decoder, Json& config) {
  write_ropes_by_kind(decoder, config);
  config["attention_bias"] = decoder.attention_bias;
  config["final_logit_softcapping"] = softcap_json(decoder.logit_softcap);
  config["layer_types"] = kinds_json(decoder);
  if (const Json window = window_json(decoder); !window.is_null()) config["sliding_window"] = window;
  config["hidden_size_per_layer_input"] = decoder.layer_input_dim;
  config["vocab_size_per_layer_input"] = decoder.vocab_size;
  config["attention_k_eq_v"] = false;
  config["per_layer_config"] = Json::object();
  config["enable_moe_block"] = decoder.layer(0).experts.has_value();
  int64_t shared = 0;
  bool wide = false;
  for (size_t i = 0; i < decoder.layers.size(); ++i) {
    const LayerShape& layer = decoder.layers[i];
    if (layer.value_from_key) config["attention_k_eq_v"] = true;
    if (layer.keys_of >= 0) {
      ++shared;
      wide = layer.inner != decoder.intermediate_size;
    }
    Json own = Json::object();
    if (layer.head_dim != decoder.head_dim) own["head_dim"] = layer.head_dim;
    if (layer.kv_heads != decoder.num_key_value_heads) own["num_key_value_heads"] = layer.kv_heads;
    if (!own.empty()) config["per_layer_config"][std::to_string(i)] = own;
  }
  config["num_kv_shared_layers"] = shared;
  config["use_double_wide_mlp"] = wide;
  if (const auto& experts = decoder.layer(0).experts) {
    config["num_experts"] = experts->count;
    config["top_k_experts"] = experts->chosen;
    config["moe_intermediate_size"] = experts->inner;
  }
}

std::vector<TensorRule> tensors(const DecoderConfig& decoder, int64_t layer) {
  const int64_t hidden = decoder.hidden_size;
  const int64_t inputs = decoder.layer_input_dim;
  std::vector<TensorRule> rules = gemma_rules(decoder, layer);
  RuleList own(decoder, layer);
  if (layer < 0) {
    const int64_t all = decoder.num_hidden_layers * inputs;
    if (inputs > 0) {
      own.add(TensorKind::kLayerEmbedding, "embed_tokens_per_layer.weight", {decoder.vocab_size, all});
      own.add(TensorKind::kLayerEmbeddingProjection, "per_layer_model_projection.weight", {all, hidden});
      own.add(TensorKind::kLayerEmbeddingNorm, "per_layer_projection_norm.weight", {inputs});
    }
  } else {
    own.add(TensorKind::kOutputScale, "layer_scalar", {1});
    if (inputs > 0) {
      own.add(TensorKind::kLayerInputGate, "per_layer_input_gate.weight", {inputs, hidden});
      own.add(TensorKind::kLayerInputProjection, "per_layer_projection.weight", {hidden, inputs});
      own.norm(TensorKind::kLayerInputNorm, "post_per_layer_input_norm");
    }
    if (const auto& experts = own.shape().experts) {
      own.norm(TensorKind::kMlpBranchNorm, "post_feedforward_layernorm_1");
      own.norm(TensorKind::kExpertNorm, "pre_feedforward_layernorm_2");
      own.norm(TensorKind::kExpertOutNorm, "post_feedforward_layernorm_2");
      own.add(TensorKind::kRouter, "router.proj.weight", {experts->count, hidden});
      own.add(TensorKind::kRouterScale, "router.scale", {hidden});
      own.add(TensorKind::kExpertScale, "router.per_expert_scale", {experts->count});
    }
  }
  for (TensorRule& rule : own.take()) rules.push_back(std::move(rule));
  return rules;
}

}  // namespace
}  // namespace gemma4_family

const Architecture kGemma4 = {
    .name = "gemma4_text",
    .summary =
        "Rotation by halves; layers that see all turn a quarter of a larger head, at its own frequencies.",
    .source = "Gemma 4 (huggingface.co/google/gemma-4-E2B-it)",
    .model_types = {"gemma4_text"},
    .classes = {"Gemma4ForCausalLM", "Gemma4TextModel"},
    .wrappers = {"gemma4"},
    .trains = true,
    .defaults = {.max_position_embeddings = 131072,
                 .num_key_value_heads = 4,
                 .head_dim = 256,
                 .tie_word_embeddings = true,
                 .rope_theta = 1e6,
                 .activation = GateActivation::kGeluTanh,
                 .activation_key = "hidden_activation",
                 .bos_token_id = 2,
                 .eos_token_ids = {1},
                 .vocab_size = 262144,
                 .hidden_size = 2304,
                 .intermediate_size = 9216,
                 .num_hidden_layers = 30,
                 .num_attention_heads = 8},
    .experts = "experts",
    .parse = gemma4_family::parse,
    .write = gemma4_family::write,
    .tensors = gemma4_family::tensors,
    .gguf = {{"gemma4", gemma4_gguf_config, gemma4_gguf_role}},
};

}  // namespace ropescope::families
