#include "ropescope/inputs/model_config.h"

#include "ropescope/architectures/llava_config.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"
#include "ropescope/text/tokenizer.h"
#include "ropescope/vision/media_processor.h"

namespace ropescope {

namespace fs = std::filesystem;

ModelKind model_kind(const fs::path& model) {
  std::error_code ignored;
  const fs::path folder = fs::is_directory(model, ignored) ? model : fs::absolute(model).parent_path();
  const fs::path path = folder / "config.json";
  if (model.extension() == ".gguf" || !fs::is_regular_file(path, ignored)) return ModelKind::kDecoder;
  const Json config = read_json_file(path);
  if (is_llava_config(config) || find_vlm_family(config) != nullptr) return ModelKind::kVlm;
  return is_vision_tower_config(config) ? ModelKind::kVisionTower : ModelKind::kDecoder;
}

bool is_llava_next(const fs::path& model) {
  const fs::path path = model / "config.json";
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return false;
  const Json config = read_json_file(path);
  return is_llava_config(config) && (json_has(config, "mm_vision_tower") ||
                                     json_string_or(config, "model_type", "", path.string()) == "llava_next");
}

namespace {

/// The id of a family's placeholder where config.json does not say it (OpenGVLab's InternVL).
int64_t placeholder_of(const fs::path& folder) {
  const std::string word = read_media_settings(folder).words.placeholder;
  const std::vector<int64_t> ids = load_tokenizer(folder)->encode(word, {/*add_special=*/false, false});
  if (ids.size() != 1) {
    throw InputError("{}: its tokenizer: expected one token for {}, found {}", folder.string(), word,
                     ids.size());
  }
  return ids.front();
}

}  // namespace

VlmConfig read_vlm_config(const fs::path& folder) {
  if (is_llava_next(folder)) return vlm_config_of(read_llava_config(folder));
  const fs::path path = folder / "config.json";
  VlmConfig config = parse_vlm_config(read_json_file(path), path.string());
  if (!config.tokens.image) config.tokens.image = placeholder_of(folder);
  return config;
}

}  // namespace ropescope
