// Settings of processors: presets, and what a model folder says.
#include <algorithm>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/nearest_name.h"
#include "ropescope/vision/media_processor.h"
#include "ropescope/vision/tilings/tiling.h"

namespace ropescope {

namespace media_files {

namespace {

namespace fs = std::filesystem;

Json read_object(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return nullptr;
  Json object = read_json_file(path);
  if (!object.is_object()) throw InputError("{}: expected a JSON object", path.string());
  return object;
}

Json nested_object(const Json& object, const char* key, const std::string& what) {
  const Json* nested = json_find(object, key);
  if (nested == nullptr) return nullptr;
  if (!nested->is_object()) throw InputError("{}: \"{}\": expected an object", what, key);
  return *nested;
}

std::array<double, 3> three_numbers(const Json& file, const char* key, const std::string& what) {
  const Json* values = json_find(file, key);
  std::array<double, 3> channels{};
  const bool is_list =
      values != nullptr && values->is_array() && values->size() == 3 &&
      std::all_of(values->begin(), values->end(), [](const Json& v) { return v.is_number(); });
  if (!is_list) throw InputError("{}: \"{}\": expected three numbers", what, key);
  for (size_t c = 0; c < 3; ++c) channels[c] = (*values)[c].get<double>();
  return channels;
}

/// Filter, rescaling, mean and std. `strict`: of pictures, where mean and std must be said.
void read_common(const Json& file, bool strict, const std::string& what, MediaSettings& settings) {
  for (const char* key : {"do_resize", "do_rescale", "do_normalize"}) {
    if (!json_bool_or(file, key, true, what)) {
      throw UnsupportedModel("{}: \"{}\": expected true, found false", what, key);
    }
  }
  constexpr int64_t kLanczos = 1, kBilinear = 2, kBicubic = 3;
  const int64_t resample = json_integer_or(file, "resample", 0, what);
  if (resample == kLanczos) settings.filter = ResampleFilter::kLanczos;
  if (resample == kBilinear) settings.filter = ResampleFilter::kBilinear;
  if (resample == kBicubic) settings.filter = ResampleFilter::kBicubic;
  if (json_find(file, "resample") != nullptr && (resample < kLanczos || resample > kBicubic)) {
    throw UnsupportedModel("{}: \"resample\": expected 1 (Lanczos), 2 (bilinear) or 3 (bicubic), found {}",
                           what, resample);
  }
  settings.rescale_factor = json_number_or(file, "rescale_factor", settings.rescale_factor, what);
  if (strict || json_has(file, "image_mean")) settings.mean = three_numbers(file, "image_mean", what);
  if (strict || json_has(file, "image_std")) settings.std = three_numbers(file, "image_std", what);
}

}  // namespace

}  // namespace media_files

std::vector<std::string> media_preset_names() {
  std::vector<std::string> names;
  for (const Tiling& tiling : tilings())
    names.insert(names.end(), tiling.presets.begin(), tiling.presets.end());
  return names;
}

MediaSettings media_preset(const std::string& name) {
  const std::vector<std::string> names = media_preset_names();
  for (const Tiling& tiling : tilings()) {
    if (std::find(tiling.presets.begin(), tiling.presets.end(), name) == tiling.presets.end()) continue;
    MediaSettings settings = tiling.preset(name);
    settings.source = "--preset " + name;
    return settings;
  }
  const std::string near = nearest_name(name, names);
  throw UsageError("--preset: expected one of {}, found \"{}\"{}", fmt::join(names, ", "), name,
                   near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near));
}

bool has_media_processor(const Json& config) {
  const Json* type = json_find(config, "model_type");
  if (type == nullptr || !type->is_string()) return false;
  return std::any_of(tilings().begin(), tilings().end(), [&](const Tiling& tiling) {
    return std::find(tiling.families.begin(), tiling.families.end(), type->get<std::string>()) !=
           tiling.families.end();
  });
}

MediaSettings read_media_settings(const std::filesystem::path& folder) {
  using namespace media_files;
  ProcessorFiles files;
  files.what = folder.string();
  files.config = read_object(folder / "config.json");
  if (files.config.is_null()) throw InputError("{}: expected a model folder with config.json", files.what);
  if (!has_media_processor(files.config)) {
    std::vector<std::string> families;
    for (const Tiling& tiling : tilings()) {
      families.insert(families.end(), tiling.families.begin(), tiling.families.end());
    }
    throw UnsupportedModel("{}/config.json: \"model_type\": expected one of {}, found \"{}\"", files.what,
                           fmt::join(families, ", "),
                           json_string_or(files.config, "model_type", "", files.what));
  }
  files.tokenizer = read_object(folder / "tokenizer_config.json");
  files.processor = read_object(folder / "processor_config.json");
  files.image = nested_object(files.processor, "image_processor", files.what);
  files.video = nested_object(files.processor, "video_processor", files.what);
  if (files.image.is_null()) files.image = read_object(folder / "preprocessor_config.json");
  if (files.video.is_null()) files.video = read_object(folder / "video_preprocessor_config.json");
  if (files.image.is_null()) {
    throw InputError(
        "{}: expected processor_config.json or preprocessor_config.json, found neither. Try --preset",
        files.what);
  }

  // Absent files say nothing; of clips it matters whether there is one.
  for (Json* file : {&files.tokenizer, &files.processor}) {
    if (file->is_null()) *file = Json::object();
  }

  const std::string family = json_string(files.config, "model_type", files.what);
  for (const Tiling& tiling : tilings()) {
    if (std::find(tiling.families.begin(), tiling.families.end(), family) == tiling.families.end()) continue;
    MediaSettings settings = tiling.defaults(family);
    settings.source = files.what;
    read_common(files.image, true, files.what, settings);
    if (tiling.plan_video != nullptr && files.video.is_object()) {
      MediaSettings clips = settings;
      read_common(files.video, false, files.what, clips);
      if (clips.mean != settings.mean || clips.std != settings.std || clips.filter != settings.filter ||
          clips.rescale_factor != settings.rescale_factor) {
        throw UnsupportedModel("{}: expected clips to be resampled, rescaled and normalised as pictures are",
                               files.what);
      }
    }
    tiling.read(files, settings);
    return settings;
  }
  throw InternalError("no tiling of the family \"{}\"", family);
}

MediaProcessor read_media_processor(const std::filesystem::path& folder) {
  return MediaProcessor(read_media_settings(folder));
}

}  // namespace ropescope
