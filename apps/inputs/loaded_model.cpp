#include "inputs/loaded_model.h"

#include <fmt/ranges.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"
#include "ropescope/weights/loading_memory.h"

namespace ropescope::app {

namespace fs = std::filesystem;

std::vector<fs::path> description_files(const fs::path& model) {
  std::error_code ignored;
  if (model.extension() == ".gguf") return {};
  const fs::path folder = fs::is_directory(model, ignored) ? model : fs::absolute(model).parent_path();
  std::vector<fs::path> files;
  for (const char* name :
       {"config.json", "generation_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
        "vocab.json", "merges.txt", "special_tokens_map.json", "added_tokens.json", "chat_template.json",
        "chat_template.jinja", "preprocessor_config.json", "video_preprocessor_config.json",
        "processor_config.json"}) {
    if (fs::is_regular_file(folder / name, ignored)) files.push_back(folder / name);
  }
  return files;
}

void refuse_images(const std::string& flag, const std::string& model, const std::string& way_out) {
  std::vector<std::string> names;
  for (const VlmFamily* family : vlm_families()) names.push_back(family->name);
  const std::string expected = fmt::format("expected a vision-language model ({})", fmt::join(names, ", "));
  const fs::path path = fs::path(model) / "config.json";
  std::error_code ignored;
  try {
    read_decoder_config(model);
  } catch (const UnsupportedModel& error) {
    if (!fs::is_regular_file(path, ignored)) throw;
    const std::string type = json_string_or(read_json_file(path), "model_type", "", path.string());
    throw InputError("{}: model_type \"{}\" is not supported; {}{}", path.string(), type, expected, way_out);
  }
  throw UsageError("--{}: {} has no vision tower; {}{}", flag, model, expected, way_out);
}

Json digests(const std::vector<InputFile>& files) {
  Json names = Json::object();
  for (const InputFile& file : files) {
    std::string name = file.name;
    while (names.contains(name)) name += "'";
    names[name] = file.sha256;
  }
  return names;
}

Json model_digests(const fs::path& model) {
  Provenance files;
  for (const fs::path& file : open_checkpoint(model)->files()) files.add_input(file);
  for (const fs::path& file : description_files(model)) files.add_input(file);
  return digests(files.inputs);
}

CommonSettings settings_for_answers(const Invocation& invocation, const fs::path& model) {
  CommonSettings settings = invocation.settings;
  const std::optional<uint64_t> left = available_memory();
  if (invocation.given("dtype") || settings.weights != WeightMode::kAuto || !settings.device.is_cpu() ||
      !left) {
    return settings;
  }
  constexpr double kShare = 0.8;  // a pass needs some too
  double numbers = 0;
  const std::shared_ptr<const Checkpoint> checkpoint = open_checkpoint(model);
  for (const TensorInfo& tensor : checkpoint->tensors()) {
    double of_tensor = 1;
    for (const int64_t size : tensor.shape) of_tensor *= static_cast<double>(size);
    numbers += of_tensor;
  }
  const double room = kShare * static_cast<double>(*left), gib = 1024.0 * 1024.0 * 1024.0;
  if (4 * numbers <= room || 2 * numbers > room) return settings;
  log_info(
      "weights: {:.1f} GiB in float32 beside {:.1f} GiB of free memory: kept in bfloat16, since an answer takes all of them for each token (--dtype float32 with --weights streamed reads them each time)",
      4 * numbers / gib, static_cast<double>(*left) / gib);
  settings.dtype = at::kBFloat16;
  return settings;
}

LoadOptions load_options(const CommonSettings& settings, bool with_lm_head) {
  LoadOptions options;
  options.device = settings.device;
  options.dtype = settings.dtype;
  options.with_lm_head = with_lm_head;
  options.weights = settings.weights;
  return options;
}

LoadedModel::LoadedModel(const fs::path& model, const DecoderConfig& decoder,
                         const std::optional<VlmConfig>& vlm, const LoadOptions& options, bool whole_tower) {
  const std::shared_ptr<const Checkpoint> checkpoint = open_checkpoint(model);
  files_ = checkpoint->files();
  for (fs::path& file : description_files(model)) files_.push_back(std::move(file));
  if (!vlm) {
    decoder_ = load_decoder(checkpoint, decoder, options);
    return;
  }
  vlm_ = load_vlm(checkpoint, *vlm, decoder, model, options, whole_tower);
  files_.insert(files_.end(), vlm_->tower_files.begin(), vlm_->tower_files.end());
}

void LoadedModel::add_inputs(Provenance& provenance) const {
  for (const fs::path& file : files_) provenance.add_input(file);
}

}  // namespace ropescope::app
