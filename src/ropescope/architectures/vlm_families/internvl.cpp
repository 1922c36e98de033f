// InternVL in both of its forms: transformers' (model_type internvl) and that of OpenGVLab's repositories (internvl_chat),
// which differ in the names of keys and tensors.
#include <cmath>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/architectures/llava_config.h"
#include "ropescope/architectures/vlm_families/vlm_families.h"
#include "ropescope/architectures/vlm_families/vlm_reading.h"

namespace ropescope::vlm_family {

namespace internvl_family {
namespace {

struct Defaults {
  int64_t hidden_size, layers, heads, intermediate_size, image_size;
  bool qkv_bias, qk_norm;
  const char *norm_type, *qkv_bias_key, *qk_norm_key;
};

constexpr Defaults kTransformers = {
    1024, 24, 16, 4096, 448, false, false, "layer_norm", "attention_bias", "use_qk_norm"};
constexpr Defaults kOriginal = {3200,  48,   25,         12800,      224,
                                false, true, "rms_norm", "qkv_bias", "qk_normalization"};

VisionConfig read_tower(const Json& vision, const Defaults& defaults, const std::string& what) {
  VisionConfig tower;
  tower.kind = VisionKind::kInternVit;
  tower.hidden_size = json_integer_or(vision, "hidden_size", defaults.hidden_size, what);
  tower.intermediate_size = json_integer_or(vision, "intermediate_size", defaults.intermediate_size, what);
  tower.num_hidden_layers = json_integer_or(vision, "num_hidden_layers", defaults.layers, what);
  tower.num_attention_heads = json_integer_or(vision, "num_attention_heads", defaults.heads, what);
  tower.num_channels = json_integer_or(vision, "num_channels", 3, what);
  tower.image_size = square_size(vision, "image_size", defaults.image_size, what);
  tower.patch_size = square_size(vision, "patch_size", 14, what);
  tower.layer_norm_eps = json_number_or(vision, "layer_norm_eps", 1e-6, what);
  tower.activation =
      parse_activation(json_string_or(vision, "hidden_act", "gelu", what), what + ": hidden_act");
  tower.qkv_bias = json_bool_or(vision, defaults.qkv_bias_key, defaults.qkv_bias, what);
  tower.layer_scale = true;
  // The towers with 6 billion parameters.
  const std::string norm = json_string_or(vision, "norm_type", defaults.norm_type, what);
  if (norm != "layer_norm") {
    throw UnsupportedModel("{}: norm_type: expected \"layer_norm\", found \"{}\"", what, norm);
  }
  if (json_bool_or(vision, defaults.qk_norm_key, defaults.qk_norm, what)) {
    throw UnsupportedModel("{}: {}: expected false, found true", what, defaults.qk_norm_key);
  }
  expect_flag(vision, "use_absolute_position_embeddings", true, what);
  expect_flag(vision, "use_mean_pooling", true, what);
  check_vision_config(tower, what);
  return tower;
}

// Patches a side that one token is made of: 2 for a ratio of 0.5.
int64_t shuffle_side(const Json& config, const VisionConfig& tower, const std::string& what) {
  const double ratio = json_number_or(config, "downsample_ratio", 0.5, what);
  const double side = ratio > 0 ? std::round(1 / ratio) : 0;
  if (!(side >= 1 && side <= static_cast<double>(tower.grid()) && std::abs(side * ratio - 1) < 1e-9)) {
    throw InputError("{}: downsample_ratio: expected one by a whole number, found {}", what, ratio);
  }
  const auto whole = static_cast<int64_t>(side);
  if (tower.grid() % whole != 0) {
    throw InputError("{}: downsample_ratio: {} patches a side do not come in blocks of {}", what,
                     tower.grid(), whole);
  }
  return whole;
}

void read_connector(const Json& config, VlmConfig& vlm, const std::string& what) {
  ConnectorConfig& connector = vlm.connector;
  connector = llava_mlp(config, vlm, what);
  connector.kind = ConnectorKind::kShuffleMlp;
  connector.merge_size = shuffle_side(config, vlm.vision, what);
  connector.norm_name = "layer_norm";
}

void parse_original(const Json& config, VlmConfig& vlm, const std::string& what) {
  vlm.text_hidden_size = text_hidden_size(config, "llm_config", "qwen2", 4096, what);
  vlm.tie_word_embeddings = tied_embeddings(config, "llm_config", false, what);
  Json vision = object_at(config, "vision_config", what);
  // The size that the model is used with, whatever the tower says.
  if (json_has(config, "force_image_size")) vision["image_size"] = config["force_image_size"];
  vlm.vision = read_tower(vision, kOriginal, what + ": vision_config");
  vlm.feature_layers = {resolve_feature_layer(json_integer_or(config, "select_layer", -1, what),
                                              vlm.vision.num_hidden_layers, what)};
  read_connector(config, vlm, what);
  const std::string version = json_string_or(config, "ps_version", "v1", what);
  if (version != "v1" && version != "v2") {
    throw UnsupportedModel("{}: ps_version: expected v1 or v2, found \"{}\"", what, version);
  }
  vlm.connector.transposed = version == "v1";
}

void parse(const Json& config, VlmConfig& vlm, const std::string& what) {
  if (json_has(config, "llm_config")) return parse_original(config, vlm, what);
  vlm.text_hidden_size = text_hidden_size(config, "text_config", "qwen2", 4096, what);
  vlm.tie_word_embeddings = tied_embeddings(config, "text_config", false, what);
  vlm.tokens.image = json_integer_or(config, "image_token_id", 151667, what);
  vlm.vision = read_tower(object_at(config, "vision_config", what), kTransformers, what + ": vision_config");
  read_feature_choice(config, -1, "default", vlm, what);
  read_connector(config, vlm, what);
}

}  // namespace
}  // namespace internvl_family

const VlmFamily kInternVl = {
    .name = "internvl",
    .summary = "InternViT over tiles and a thumbnail, pixel shuffle, layer norm and two linear layers",
    .source = "InternVL 2.5 and 3 (arXiv 2412.05271, 2504.10479)",
    .model_types = {"internvl", "internvl_chat"},
    .classes = {"InternVLForConditionalGeneration", "InternVLChatModel"},
    .tower_prefix = "vision_tower.",
    .connector_prefix = "multi_modal_projector.",
    .parse = internvl_family::parse,
};

}  // namespace ropescope::vlm_family
