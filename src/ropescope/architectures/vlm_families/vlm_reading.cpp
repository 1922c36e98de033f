#include "ropescope/architectures/vlm_families/vlm_reading.h"

#include <cmath>

#include "ropescope/architectures/architecture.h"
#include "ropescope/architectures/decoder_config.h"
#include "ropescope/architectures/llava_config.h"
#include "ropescope/weights/size_count.h"

namespace ropescope::vlm_family {

Json object_at(const Json& config, const char* key, const std::string& what) {
  const Json* found = json_find(config, key);
  if (found == nullptr) return Json::object();
  if (!found->is_object()) throw InputError("{}: {}: expected a JSON object", what, key);
  return *found;
}

int64_t text_hidden_size(const Json& config, const char* text_key, const std::string& text_type,
                         int64_t fallback, const std::string& what) {
  const Json text = object_at(config, text_key, what);
  const std::string type = json_string_or(text, "model_type", text_type, what);
  if (const Architecture* family = find_architecture(type, ""); family && family->defaults.hidden_size) {
    fallback = *family->defaults.hidden_size;
  }
  const bool flat = !json_has(config, text_key) && json_has(config, "hidden_size");
  const int64_t size = json_integer_or(flat ? config : text, "hidden_size", fallback, what);
  check_size(size, "hidden_size of the text model", INT32_MAX, what);
  return size;
}

bool tied_embeddings(const Json& config, const char* text_key, bool fallback, const std::string& what) {
  const Json text = object_at(config, text_key, what);
  return json_bool_or(config, "tie_word_embeddings",
                      json_bool_or(text, "tie_word_embeddings", fallback, what), what);
}

int64_t square_size(const Json& config, const char* key, int64_t fallback, const std::string& what) {
  const Json* found = json_find(config, key);
  if (found == nullptr || !found->is_array()) return json_integer_or(config, key, fallback, what);
  const std::vector<int64_t> sides = integer_list(config, key, {}, what);
  if (sides.size() != 2 || sides[0] != sides[1]) {
    throw UnsupportedModel("{}: {}: expected one number or two equal ones, found {}", what, key,
                           found->dump());
  }
  return sides[0];
}

int64_t square_side(const Json& config, const char* key, int64_t fallback, const std::string& what) {
  const int64_t places = json_integer_or(config, key, fallback, what);
  const int64_t side = places > 0 ? std::llround(std::sqrt(static_cast<double>(places))) : 0;
  if (side < 1 || side > INT32_MAX || side * side != places) {
    throw InputError("{}: {}: expected a square number, found {}", what, key, places);
  }
  return side;
}

std::vector<int64_t> integer_list(const Json& config, const char* key, const std::vector<int64_t>& fallback,
                                  const std::string& what) {
  const Json* found = json_find(config, key);
  if (found == nullptr) return fallback;
  constexpr size_t kMost = 10'000;
  if (!found->is_array() || found->size() > kMost) {
    throw InputError("{}: {}: expected a list of at most {} numbers, found {}", what, key, kMost,
                     found->is_array() ? fmt::format("{}", found->size()) : found->type_name());
  }
  std::vector<int64_t> numbers;
  for (const Json& number : *found) numbers.push_back(json_integer(Json{{key, number}}, key, what));
  return numbers;
}

void expect_flag(const Json& config, const char* key, bool expected, const std::string& what) {
  if (json_bool_or(config, key, expected, what) != expected) {
    throw UnsupportedModel("{}: {}: expected {}, found {}", what, key, expected, !expected);
  }
}

void expect_text(const Json& config, const char* key, const std::string& expected, const std::string& what) {
  const std::string found = json_string_or(config, key, expected, what);
  if (found != expected)
    throw UnsupportedModel("{}: {}: expected \"{}\", found \"{}\"", what, key, expected, found);
}

int64_t token_id(const Json& config, const char* id_key, const char* index_key, int64_t fallback,
                 const std::string& what) {
  return json_integer_or(config, json_has(config, id_key) ? id_key : index_key, fallback, what);
}

VisionTokenIds qwen_token_ids(const Json& config, const VisionTokenIds& fallback, const std::string& what) {
  VisionTokenIds ids;
  ids.image = json_integer_or(config, "image_token_id", *fallback.image, what);
  ids.video = json_integer_or(config, "video_token_id", *fallback.video, what);
  ids.vision_start = json_integer_or(config, "vision_start_token_id", *fallback.vision_start, what);
  ids.vision_end = json_integer_or(config, "vision_end_token_id", *fallback.vision_end, what);
  return ids;
}

VisionConfig nested_tower(const Json& config, const char* model_type, const VisionConfig& fallback,
                          const std::string& what) {
  if (!json_has(config, "vision_config")) return fallback;
  Json vision = object_at(config, "vision_config", what);
  if (!json_has(vision, "model_type")) vision["model_type"] = model_type;
  return parse_vision_config(vision, what + ": vision_config");
}

void read_patches(const Json& vision, VisionConfig& tower, int64_t patch_size, const std::string& what) {
  tower.packed = true;
  tower.image_size = 0;
  tower.num_channels =
      json_integer_or(vision, json_has(vision, "in_channels") ? "in_channels" : "in_chans", 3, what);
  tower.patch_size = json_integer_or(vision, "patch_size", patch_size, what);
  tower.temporal_patch_size = json_integer_or(vision, "temporal_patch_size", 2, what);
  tower.merge_size = json_integer_or(vision, "spatial_merge_size", 2, what);
  const Json rope = object_at(vision, "rope_parameters", what);
  expect_text(rope, "rope_type", "axial", what + ": rope_parameters");
  tower.rope_theta = json_number_or(rope, "rope_theta", 10000, what);
  // Both spellings of a patch's side must agree where a file has both (old Qwen files).
  if (json_integer_or(vision, "spatial_patch_size", tower.patch_size, what) != tower.patch_size) {
    throw InputError("{}: spatial_patch_size: expected patch_size, {}, found {}", what, tower.patch_size,
                     json_integer(vision, "spatial_patch_size", what));
  }
}

void check_out_size(int64_t found, const VlmConfig& vlm, const char* key, const std::string& what) {
  if (found == vlm.text_hidden_size) return;
  throw InputError("{}: {}: expected the text model's hidden_size, {}, found {}", what, key,
                   vlm.text_hidden_size, found);
}

ConnectorConfig qwen_merger(const VlmConfig& vlm) {
  ConnectorConfig connector;
  connector.kind = ConnectorKind::kMerger;
  connector.merge_size = vlm.vision.merge_size;
  connector.in = vlm.vision.hidden_size;
  connector.inner = connector.in * connector.merge_size * connector.merge_size;
  connector.out = vlm.text_hidden_size;
  connector.norm_eps = 1e-6;
  connector.norm_name = "merger.ln_q";
  connector.first_name = "merger.mlp.0";
  connector.second_name = "merger.mlp.2";
  return connector;
}

void read_feature_choice(const Json& config, int64_t layer, const char* strategy, VlmConfig& vlm,
                         const std::string& what) {
  const Json* listed = json_find(config, "vision_feature_layer");
  const std::vector<int64_t> layers =
      listed != nullptr && listed->is_array()
          ? integer_list(config, "vision_feature_layer", {}, what)
          : std::vector{json_integer_or(config, "vision_feature_layer", layer, what)};
  constexpr size_t kMostLayers = 64;
  if (layers.empty() || layers.size() > kMostLayers) {
    throw InputError("{}: vision_feature_layer: expected 1 to {} layers, found {}", what, kMostLayers,
                     layers.size());
  }
  for (const int64_t each : layers) {
    vlm.feature_layers.push_back(resolve_feature_layer(each, vlm.vision.num_hidden_layers, what));
  }
  const std::string wanted = vlm.vision.class_token() ? "default" : "full";
  const std::string found = json_string_or(config, "vision_feature_select_strategy", strategy, what);
  if (found != wanted) {
    throw UnsupportedModel(
        "{}: vision_feature_select_strategy: expected \"{}\" with a {} tower, so that one feature a patch is left, "
        "found \"{}\"",
        what, wanted, vision_kind_name(vlm.vision.kind), found);
  }
}

ConnectorConfig llava_mlp(const Json& config, const VlmConfig& vlm, const std::string& what) {
  ConnectorConfig connector;
  connector.in = vlm.vision.hidden_size * static_cast<int64_t>(vlm.feature_layers.size());
  connector.inner = connector.out = vlm.text_hidden_size;
  connector.activation = parse_activation(json_string_or(config, "projector_hidden_act", "gelu", what),
                                          what + ": projector_hidden_act");
  connector.bias = json_bool_or(config, "multimodal_projector_bias", true, what);
  connector.first_name = "linear_1";
  connector.second_name = "linear_2";
  return connector;
}

}  // namespace ropescope::vlm_family
