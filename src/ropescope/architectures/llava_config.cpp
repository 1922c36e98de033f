#include "ropescope/architectures/llava_config.h"

#include <algorithm>

#include "ropescope/core/strings.h"

namespace ropescope {

namespace fs = std::filesystem;

namespace {

std::string text_of(const Json& object, const char* key) {
  return json_has(object, key) && object[key].is_string() ? object[key].get<std::string>() : "";
}

Json nested_text_config(const Json& config, const std::string& what) {
  Json text = json_has(config, "text_config") ? config["text_config"] : Json::object();
  if (!text.is_object()) throw InputError("{}: text_config: expected a JSON object", what);
  if (text_of(text, "model_type").empty() && !json_has(text, "architectures")) {
    text["model_type"] = text_of(config, "model_type") == "llava_onevision" ? "qwen2" : "llama";
  }
  const Json defaults = nested_text_defaults(text_of(text, "model_type"));
  for (const auto& [key, value] : defaults.items()) {
    if (!json_has(text, key.c_str())) text[key] = value;
  }
  if (!json_has(text, "tie_word_embeddings") && json_has(config, "tie_word_embeddings")) {
    text["tie_word_embeddings"] = config["tie_word_embeddings"];
  }
  return text;
}

/// The decoder's keys lie at the top; its type is told by the model's.
Json original_text_config(const Json& config) {
  Json text = config;
  const std::string names =
      text_of(config, "model_type") + " " +
      (json_has(config, "architectures") ? config["architectures"].dump() : std::string());
  for (const char* key : {"mm_vision_tower", "vision_config", "architectures"}) text.erase(key);
  const bool qwen = contains(names, "qwen") || contains(names, "Qwen");
  const bool mistral = contains(names, "mistral") || contains(names, "Mistral");
  text["model_type"] = qwen ? "qwen2" : mistral ? "mistral" : "llama";
  return text;
}

bool is_original(const Json& config) { return json_has(config, "mm_vision_tower"); }

std::vector<int64_t> layers_of(const Json& config, const char* key, int64_t fallback,
                               const std::string& what) {
  if (!json_has(config, key) || !config[key].is_array())
    return {json_integer_or(config, key, fallback, what)};
  constexpr size_t kMostLayers = 64;
  std::vector<int64_t> layers;
  for (const Json& layer : config[key]) layers.push_back(json_integer(Json{{key, layer}}, key, what));
  if (layers.empty() || layers.size() > kMostLayers) {
    throw InputError("{}: {}: expected 1 to {} layers, found {}", what, key, kMostLayers, layers.size());
  }
  return layers;
}

void read_hf(const Json& config, LlavaConfig& llava, const std::string& what) {
  if (const std::string type = text_of(config, "model_type"); type != "llava_next") {
    throw UnsupportedModel("{}: model_type: expected llava_next (LLaVA-NeXT), found \"{}\"", what, type);
  }
  // Without a vision_config, transformers assumes the tower of LLaVA 1.5.
  llava.tower = json_has(config, "vision_config") ? parse_vision_config(config, what)
                                                  : *known_vision_tower("clip-vit-large-patch14-336");
  const std::string strategy = json_string_or(config, "vision_feature_select_strategy", "default", what);
  if (strategy != (llava.tower.class_token() ? "default" : "full")) {
    throw UnsupportedModel(
        "{}: vision_feature_select_strategy: expected \"{}\" with a {} tower, so that one feature a patch is "
        "left, found \"{}\"",
        what, llava.tower.class_token() ? "default" : "full", vision_kind_name(llava.tower.kind), strategy);
  }
  llava.feature_layers = layers_of(config, "vision_feature_layer", -2, what);
  llava.projector_activation = parse_activation(json_string_or(config, "projector_hidden_act", "gelu", what),
                                                what + ": projector_hidden_act");
  llava.projector_bias = json_bool_or(config, "multimodal_projector_bias", true, what);
  const char* key = json_has(config, "image_token_id") ? "image_token_id" : "image_token_index";
  llava.image_token_id = json_integer_or(config, key, 32000, what);
}

void read_original(const Json& config, const Json& tower, LlavaConfig& llava, const std::string& what) {
  llava.original = true;
  llava.tower_name = json_string(config, "mm_vision_tower", what);
  if (tower.is_object()) {
    llava.tower = parse_vision_config(tower, llava.tower_name + "/config.json");
  } else if (const auto known = known_vision_tower(llava.tower_name)) {
    llava.tower = *known;
  } else {
    throw InputError(
        "{}: mm_vision_tower \"{}\": expected a folder of that name with config.json in the checkpoint's "
        "folder or beside it",
        what, llava.tower_name);
  }
  const auto expect = [&](const char* key, const std::string& wanted, const std::string& fallback) {
    const std::string found = json_string_or(config, key, fallback, what);
    if (found != wanted)
      throw UnsupportedModel("{}: {}: expected \"{}\", found \"{}\"", what, key, wanted, found);
  };
  expect("mm_projector_type", "mlp2x_gelu", "linear");
  expect("mm_patch_merge_type", "spatial_unpad", "flat");
  expect("image_aspect_ratio", "anyres", "square");
  // The original SigLIP tower has no class token to leave out and does not look at this.
  if (llava.tower.class_token()) expect("mm_vision_select_feature", "patch", "patch");
  if (json_bool_or(config, "mm_use_im_start_end", false, what)) {
    throw UnsupportedModel("{}: mm_use_im_start_end: expected false, found true", what);
  }
  llava.feature_layers = layers_of(config, "mm_vision_select_layer", -2, what);
  if (json_has(config, "image_token_index"))
    llava.image_token_id = json_integer(config, "image_token_index", what);
}

}  // namespace

bool is_llava_config(const Json& config) {
  if (!config.is_object()) return false;
  return is_original(config) || contains(text_of(config, "model_type"), "llava");
}

DecoderConfig parse_llava_decoder_config(const Json& config, const std::string& what) {
  if (is_original(config)) return parse_decoder_config(original_text_config(config), what);
  return parse_decoder_config(nested_text_config(config, what), what + ": text_config");
}

LlavaConfig parse_llava_config(const Json& config, const Json& tower, const std::string& what) {
  if (!is_llava_config(config)) throw InputError("{}: expected a LLaVA-NeXT configuration", what);
  LlavaConfig llava;
  llava.decoder = parse_llava_decoder_config(config, what);
  if (is_original(config)) {
    read_original(config, tower, llava, what);
  } else {
    read_hf(config, llava, what);
  }
  for (int64_t& layer : llava.feature_layers) {
    layer = resolve_feature_layer(layer, llava.tower.num_hidden_layers, what);
  }
  return llava;
}

LlavaConfig read_llava_config(const fs::path& folder) {
  const fs::path path = folder / "config.json";
  const Json config = read_json_file(path);
  Json tower;
  if (const std::string name = text_of(config, "mm_vision_tower"); !name.empty()) {
    if (const auto found = find_tower_folder(folder, name)) tower = read_json_file(*found / "config.json");
  }
  LlavaConfig llava = parse_llava_config(config, tower, path.string());
  add_generation_end_tokens(folder, llava.decoder);
  return llava;
}

std::optional<fs::path> find_tower_folder(const fs::path& folder, const std::string& tower_name) {
  if (tower_name.empty()) return std::nullopt;
  const fs::path name(tower_name);
  const fs::path last = name.has_filename() ? name.filename() : name.parent_path().filename();
  // (folder / name is the name itself where that is a full path)
  const fs::path beside = fs::absolute(folder / last).parent_path().parent_path() / last;
  for (const fs::path& place : {folder / name, folder / last, beside}) {
    std::error_code ignored;
    if (fs::is_regular_file(place / "config.json", ignored) && !fs::equivalent(place, folder, ignored)) {
      return place;
    }
  }
  return std::nullopt;
}

int64_t resolve_feature_layer(int64_t layer, int64_t layers, const std::string& what) {
  const int64_t resolved = layer < 0 ? layers + 1 + layer : layer;
  if (resolved < 0 || resolved > layers) {
    throw InputError("{}: vision feature layer: expected one of {} to {}, found {}", what, -layers - 1,
                     layers, layer);
  }
  return resolved;
}

int64_t tower_feature_layer(const Json& config, const VisionConfig& tower, const std::string& what) {
  return resolve_feature_layer(json_integer_or(config, "vision_feature_layer", -2, what),
                               tower.num_hidden_layers, what);
}

}  // namespace ropescope
