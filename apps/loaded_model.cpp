#include "loaded_model.h"

namespace ropescope::app {

namespace fs = std::filesystem;

ModelKind model_kind(const fs::path& model) {
  std::error_code ignored;
  const fs::path folder = fs::is_directory(model, ignored) ? model : fs::absolute(model).parent_path();
  const fs::path path = folder / "config.json";
  if (model.extension() == ".gguf" || !fs::is_regular_file(path, ignored)) return ModelKind::kDecoder;
  const Json config = read_json_file(path);
  if (is_llava_config(config)) return ModelKind::kLlava;
  return is_vision_tower_config(config) ? ModelKind::kVisionTower : ModelKind::kDecoder;
}

LoadedModel::LoadedModel(const fs::path& model, const DecoderConfig& decoder,
                         const std::optional<LlavaConfig>& llava, const LoadOptions& options) {
  const auto checkpoint = open_checkpoint(model);
  files_ = checkpoint->files();
  if (!llava) {
    decoder_ = load_decoder(*checkpoint, decoder, options);
    return;
  }
  LlavaConfig config = *llava;
  config.decoder = decoder;
  llava_ = load_llava(*checkpoint, config, model, options);
  files_.insert(files_.end(), llava_->tower_files.begin(), llava_->tower_files.end());
}

void LoadedModel::add_inputs(Provenance& provenance) const {
  for (const fs::path& file : files_) provenance.add_input(file);
}

}  // namespace ropescope::app
