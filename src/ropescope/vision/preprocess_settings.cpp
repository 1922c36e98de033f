// Presets of the image processors, and what a model folder says.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <vector>

#include "ropescope/architectures/llava_config.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/nearest_name.h"
#include "ropescope/core/strings.h"
#include "ropescope/vision/preprocess.h"

namespace ropescope {

namespace {

namespace fs = std::filesystem;

enum class Tower { kClip, kSiglip };

constexpr std::array<double, 3> kClipMean = {0.48145466, 0.4578275, 0.40821073};
constexpr std::array<double, 3> kClipStd = {0.26862954, 0.26130258, 0.27577711};
constexpr std::array<double, 3> kHalves = {0.5, 0.5, 0.5};
constexpr int64_t kPatch = 14;  // of the towers that LLaVA-NeXT uses

struct Sizes {
  int64_t image, patch;  // pixels
};
/// What a config that does not say means.
constexpr Sizes kClipDefaults{224, 32}, kSiglipDefaults{224, 16};

/// "openai/clip-vit-large-patch14-336" -> 336, 14; without a size at its end 224.
Sizes sizes_in_name(const std::string& name) {
  const auto number_after = [&](size_t start, int64_t fallback) {
    int64_t value = 0;
    const auto [end, code] = std::from_chars(name.data() + start, name.data() + name.size(), value);
    return code == std::errc() && value > 0 ? value : fallback;
  };
  const size_t patch = name.rfind("patch"), dash = name.rfind('-');
  return {dash == std::string::npos ? 224 : number_after(dash + 1, 224),
          patch == std::string::npos ? kPatch : number_after(patch + 5, kPatch)};
}

PreprocessSettings tower_settings(Tower tower, int64_t size) {
  PreprocessSettings settings;
  settings.resize_height = settings.resize_width = size;
  if (tower == Tower::kClip) {
    settings.resize = PreprocessSettings::Resize::kShortestEdge;
    settings.crop_hw = {size, size};
    settings.mean = kClipMean;
    settings.std = kClipStd;
  } else {
    settings.resize = PreprocessSettings::Resize::kExact;
    settings.mean = kHalves;
    settings.std = kHalves;
  }
  return settings;
}

std::string text_of(const Json& object, const char* key) {
  const Json* value = json_find(object, key);
  return value != nullptr && value->is_string() ? value->get<std::string>() : "";
}

/// {"height": h, "width": w}, or n for n x n.
std::array<int64_t, 2> parse_size(const Json& size, const std::string& what) {
  if (size.is_number_integer()) return {size.get<int64_t>(), size.get<int64_t>()};
  return {json_integer(size, "height", what), json_integer(size, "width", what)};
}

std::array<double, 3> parse_channels(const Json& values, const char* key, const std::string& what) {
  std::array<double, 3> channels{};
  if (values.is_number()) {
    channels.fill(values.get<double>());
    return channels;
  }
  if (!values.is_array() || values.size() != 3) {
    throw InputError("{}: \"{}\": expected three numbers", what, key);
  }
  for (size_t c = 0; c < 3; ++c) {
    if (!values[c].is_number()) throw InputError("{}: \"{}\": expected three numbers", what, key);
    channels[c] = values[c].get<double>();
  }
  return channels;
}

/// What preprocessor_config.json says, over `settings`, the processor's defaults.
void apply_processor(const Json& processor, const std::string& what, PreprocessSettings& settings) {
  if (!json_bool_or(processor, "do_resize", true, what)) {
    throw InputError("{}: \"do_resize\": expected true: the vision tower takes one size only", what);
  }
  if (const Json* size = json_find(processor, "size")) {
    if (json_find(*size, "longest_edge") != nullptr) {
      throw InputError("{}: \"size\": \"longest_edge\" is not supported", what);
    }
    if (json_find(*size, "shortest_edge") != nullptr) {
      settings.resize = PreprocessSettings::Resize::kShortestEdge;
      settings.resize_height = settings.resize_width = json_integer(*size, "shortest_edge", what);
    } else {
      // Old files give CLIP's shortest edge as a bare number.
      if (!size->is_number_integer()) settings.resize = PreprocessSettings::Resize::kExact;
      const auto [height, width] = parse_size(*size, what);
      settings.resize_height = height;
      settings.resize_width = width;
    }
  }
  const bool crop = json_bool_or(processor, "do_center_crop", settings.crop_hw.has_value(), what);
  const Json* crop_size = json_find(processor, "crop_size");
  if (!crop) {
    settings.crop_hw.reset();
  } else if (crop_size != nullptr) {
    settings.crop_hw = parse_size(*crop_size, what);
  } else {
    settings.crop_hw = {settings.resize_height, settings.resize_width};
  }
  constexpr int64_t kBilinear = 2, kBicubic = 3;
  const int64_t resample = json_integer_or(processor, "resample", kBicubic, what);
  if (resample != kBilinear && resample != kBicubic) {
    throw InputError("{}: \"resample\": expected 2 (bilinear) or 3 (bicubic), found {}", what, resample);
  }
  settings.filter = resample == kBicubic ? ResampleFilter::kBicubic : ResampleFilter::kBilinear;
  settings.rescale_factor = json_number_or(processor, "rescale_factor", settings.rescale_factor, what);
  if (!json_bool_or(processor, "do_rescale", true, what)) settings.rescale_factor = 1.0;
  if (const Json* mean = json_find(processor, "image_mean"))
    settings.mean = parse_channels(*mean, "image_mean", what);
  if (const Json* std = json_find(processor, "image_std"))
    settings.std = parse_channels(*std, "image_std", what);
  if (!json_bool_or(processor, "do_normalize", true, what)) {
    settings.mean.fill(0.0);
    settings.std.fill(1.0);
  }
}

Json read_if_there(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored) ? read_json_file(path) : Json();
}

}  // namespace

std::array<int64_t, 2> PreprocessSettings::output_hw() const {
  if (anyres) return {anyres->tile_size, anyres->tile_size};
  return crop_hw.value_or(std::array<int64_t, 2>{resize_height, resize_width});
}

PreprocessSettings preset_settings(const std::string& name) {
  static const std::vector<std::string> names = {"clip", "siglip", "llava-next-clip", "llava-next-siglip"};
  if (std::find(names.begin(), names.end(), name) == names.end()) {
    const std::string near = nearest_name(name, names);
    throw UsageError("--preset: expected clip, siglip, llava-next-clip or llava-next-siglip, found \"{}\"{}",
                     name, near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near));
  }
  const bool siglip = contains(name, "siglip");
  const int64_t size = siglip ? 384 : 336;
  PreprocessSettings settings = tower_settings(siglip ? Tower::kSiglip : Tower::kClip, size);
  settings.name = name;
  if (contains(name, "llava-next")) {
    settings.anyres = AnyresOptions{default_pinpoints(size), PinpointRule::kHf, size, kPatch, true};
  }
  return settings;
}

PreprocessSettings parse_preprocess_settings(const Json& config, const Json& processor, const Json& tower,
                                             std::optional<PinpointRule> rule, const std::string& what) {
  const std::string config_name = what + "/config.json", processor_name = what + "/preprocessor_config.json";
  const std::string tower_name = text_of(config, "mm_vision_tower");
  const Json* nested = json_find(config, "vision_config");
  static const Json nothing = Json::object();
  const Json& vision = nested != nullptr    ? *nested
                       : tower.is_object()  ? tower
                       : config.is_object() ? config
                                            : nothing;
  const std::string all_names = text_of(vision, "model_type") + " " + text_of(config, "model_type") + " " +
                                tower_name + " " + text_of(processor, "image_processor_type") + " " +
                                text_of(processor, "feature_extractor_type");
  const bool siglip =
      contains(all_names, "siglip") || contains(all_names, "Siglip") || contains(all_names, "SigLip");
  if (!siglip && !contains(all_names, "clip") && !contains(all_names, "CLIP") &&
      !contains(all_names, "llava") && !contains(all_names, "LlavaNext")) {
    throw InputError(
        "{}: expected a model with a CLIP or SigLIP vision tower, found model type \"{}\". Try --preset",
        what, text_of(config, "model_type"));
  }
  // The original form names its tower, whose config may lie elsewhere: then its name tells the sizes.
  const bool by_name = !tower_name.empty() && !tower.is_object();
  const Sizes sizes = by_name ? sizes_in_name(tower_name) : siglip ? kSiglipDefaults : kClipDefaults;
  const int64_t size = json_integer_or(vision, "image_size", sizes.image, config_name);
  const int64_t patch = json_integer_or(vision, "patch_size", sizes.patch, config_name);

  PreprocessSettings settings = tower_settings(siglip ? Tower::kSiglip : Tower::kClip, size);
  settings.name = processor.is_object() ? processor_name : config_name;
  if (processor.is_object()) apply_processor(processor, processor_name, settings);

  const bool original = !tower_name.empty();
  const bool anyres = original ? contains(text_of(config, "image_aspect_ratio"), "anyres")
                               : contains(all_names, "llava_next") || contains(all_names, "LlavaNext");
  if (anyres) {
    AnyresOptions options;
    options.tile_size = settings.output_hw()[0];
    options.patch_size = patch;
    options.rule = rule.value_or(original ? PinpointRule::kOriginal : PinpointRule::kHf);
    const Json* list = json_find(config, "image_grid_pinpoints");
    if (list == nullptr) list = json_find(processor, "image_grid_pinpoints");
    options.pinpoints = list != nullptr ? parse_pinpoints(*list, config_name + ": \"image_grid_pinpoints\"")
                                        : default_pinpoints(options.tile_size);
    settings.anyres = options;
  }
  check_preprocess_settings(settings, settings.name);
  return settings;
}

void check_preprocess_settings(const PreprocessSettings& settings, const std::string& what) {
  constexpr int64_t kLargestSide = 8192;
  const auto check_side = [&](int64_t side, const char* name) {
    if (side < 1 || side > kLargestSide) {
      throw InputError("{}: {}: expected 1..{} pixels, found {}", what, name, kLargestSide, side);
    }
  };
  check_side(settings.resize_height, "image height");
  check_side(settings.resize_width, "image width");
  if (settings.crop_hw) {
    const auto [height, width] = *settings.crop_hw;
    check_side(height, "crop height");
    check_side(width, "crop width");
    if (height > settings.resize_height || width > settings.resize_width) {
      throw InputError("{}: expected a crop within the resized image of {}x{}, found {}x{}", what,
                       settings.resize_width, settings.resize_height, width, height);
    }
  }
  for (size_t c = 0; c < 3; ++c) {
    if (!std::isfinite(settings.mean[c]) || !std::isfinite(settings.std[c]) || settings.std[c] <= 0.0) {
      throw InputError("{}: expected a finite mean and a positive std of each channel, found {} and {}", what,
                       settings.mean[c], settings.std[c]);
    }
  }
  if (!std::isfinite(settings.rescale_factor)) throw InputError("{}: rescale_factor is not finite", what);
  if (!settings.anyres) return;
  const auto [height, width] =
      settings.crop_hw.value_or(std::array<int64_t, 2>{settings.resize_height, settings.resize_width});
  if (height != width || settings.resize_height != settings.resize_width ||
      height != settings.resize_height || settings.anyres->tile_size != height) {
    throw InputError(
        "{}: expected square tiles of one size to resize to and to crop to, found {}x{} and {}x{}", what,
        settings.resize_width, settings.resize_height, width, height);
  }
  check_anyres_options(*settings.anyres, what);
}

PreprocessSettings read_preprocess_settings(const fs::path& folder, std::optional<PinpointRule> rule) {
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) {
    throw InputError("{}: expected a model folder with config.json or preprocessor_config.json",
                     folder.string());
  }
  const Json config = read_if_there(folder / "config.json");
  Json processor = read_if_there(folder / "preprocessor_config.json");
  if (processor.is_null()) {
    const Json all = read_if_there(folder / "processor_config.json");
    if (const Json* nested = json_find(all, "image_processor")) processor = *nested;
  }
  for (const Json* json : {&config, static_cast<const Json*>(&processor)}) {
    if (!json->is_null() && !json->is_object()) {
      throw InputError("{}: expected JSON objects in config.json and preprocessor_config.json",
                       folder.string());
    }
  }
  if (config.is_null() && processor.is_null()) {
    throw InputError("{}: expected config.json or preprocessor_config.json in this folder", folder.string());
  }
  Json tower;
  if (const std::string name = text_of(config, "mm_vision_tower"); !name.empty()) {
    if (const auto place = find_tower_folder(folder, name)) {
      tower = read_if_there(*place / "config.json");
      if (processor.is_null()) processor = read_if_there(*place / "preprocessor_config.json");
    }
    if (const Json* nested = json_find(tower, "vision_config")) tower = Json(*nested);
  }
  return parse_preprocess_settings(config, processor, tower, rule, folder.string());
}

}  // namespace ropescope
