#include "inputs/image_input.h"

#include <algorithm>
#include <sstream>

#include <fmt/ranges.h>

#include <ATen/ops/cat.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"

#include "inputs/clip_input.h"

namespace ropescope::app {

namespace fs = std::filesystem;

namespace {

std::vector<std::string> separated(const std::vector<std::string>& lists, const char* flag) {
  std::vector<std::string> names;
  for (const std::string& list : lists) {
    std::stringstream stream(list);
    for (std::string name; std::getline(stream, name, ',');) {
      if (name.empty())
        throw UsageError("--{}: expected names separated by commas, found an empty one", flag);
      names.push_back(name);
    }
  }
  return names;
}

std::string base_name(const std::string& path) { return fs::path(path).filename().string(); }

}  // namespace

std::vector<fs::path> files_of_clip(const fs::path& clip) {
  std::error_code ignored;
  if (!fs::is_directory(clip, ignored)) return {clip};
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(clip)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<MediaPlan> plans_of(const std::vector<NamedMedia>& media) {
  std::vector<MediaPlan> plans;
  for (const NamedMedia& one : media) plans.push_back(one.item.plan);
  return plans;
}

std::vector<MediaItem> items_of(const std::vector<NamedMedia>& media) {
  std::vector<MediaItem> items;
  for (const NamedMedia& one : media) items.push_back(one.item);
  return items;
}

void DecodeFlags::bind(Flags& flags) {
  flags
      .add(
          "alpha", alpha,
          "transparency: white (laid over white, as Hugging Face does) or drop (colours as stored, as the original does)")
      .one_of({"white", "drop"});
  flags
      .add(
          "exif", exif,
          "orientation tag: ignore (as the image processors do) or apply (as Hugging Face's loader of paths does)")
      .one_of({"apply", "ignore"});
}

DecodeOptions DecodeFlags::options() const {
  DecodeOptions decode;
  decode.alpha = parse_alpha_rule(alpha);
  decode.exif = parse_exif_rule(exif);
  return decode;
}

void ImageFlags::bind(Flags& flags) {
  flags.group("Images");
  flags.add("image", image, "image files, separated by commas (JPEG, PNG, WebP, TIFF, GIF, BMP)");
  flags.add(
      "video", video,
      "clips, separated by commas: video files, or folders of frames with --fps; <video> stands for one");
  flags
      .add(
          "fps", fps,
          "of --video: frames a second to take, in place of the family's rule; of a folder of frames: those it has")
      .between(1e-3, 1e4);
  flags.add(
      "pixels", pixels,
      "in place of --image: safetensors file with a processor's tensors: pixel_values, image_grid_thw, image_sizes, ... (LLaVA-NeXT: pixel_values [images,tiles,3,S,S] and image_sizes_hw [images,2])");
  flags.add("pinpoints", pinpoints,
            "how the checkpoint's grids are read: hf or original; default: as its form does");
  decode.bind(flags);
}

const char* ImageFlags::first_given() const {
  return !image.empty() ? "image" : !video.empty() ? "video" : "pixels";
}

std::optional<PinpointRule> ImageFlags::pinpoint_rule() const {
  return pinpoints ? std::optional(parse_pinpoint_rule(*pinpoints)) : std::nullopt;
}

at::Tensor read_rgb(const std::string& file, const DecodeOptions& decode) {
  const DecodedImage image = read_image(file, decode);
  if (image.orientation != 1 && decode.exif == ExifRule::kIgnore) {
    log_info("{}: its orientation tag ({}) is ignored, as the image processors do; --exif apply turns it",
             file, image.orientation);
  }
  return image.rgb_HW3;
}

std::vector<std::string> ImageFlags::names() const {
  std::vector<std::string> names = separated(image, "image");
  if (names.empty() && video.empty()) throw UsageError("--image: expected at least one file, found none");
  return names;
}

std::vector<std::string> ImageFlags::video_names() const { return separated(video, "video"); }

void ImageFlags::add_inputs(Provenance& provenance) const {
  if (pixels) provenance.add_input(*pixels);
  if (!image.empty()) {
    for (const std::string& name : names()) provenance.add_input(name);
  }
  for (const std::string& name : video_names()) {
    for (const fs::path& file : files_of_clip(name)) provenance.add_input(file);
  }
}

NamedMedia ImageFlags::read_clip(const std::string& name, const PictureReader& reader) const {
  const SampledClip read = sampled_clip(name, fps, reader.sampling());
  NamedMedia one;
  one.rgb_HW3 = read.clip->frames(read.sampled.indices);
  one.item = reader.video(one.rgb_HW3, read.sampled);
  one.name = base_name(name);
  one.clip = {{"name", one.name},
              {"frames", read.sampled.indices.size()},
              {"total_frames", read.clip->total_frames()},
              {"source_fps", read.clip->fps()},
              {"sampled_fps", read.sampled.sampled_fps()}};
  return one;
}

Json clips_of(const std::vector<NamedMedia>& media) {
  Json clips = Json::array();
  for (const NamedMedia& one : media) {
    if (!one.clip.is_null()) clips.push_back(one.clip);
  }
  return clips;
}

std::vector<NamedMedia> ImageFlags::read(const PictureReader& reader) const {
  if ((!image.empty() || !video.empty()) && pixels) {
    throw UsageError("--image and --pixels: expected at most one of the two");
  }
  if (fps && video.empty()) throw UsageError("--fps belongs to --video");
  const DecodeOptions rules = decode.options();
  std::vector<at::Tensor> pictures;
  std::vector<NamedMedia> media;
  const std::vector<std::string> files = names();
  for (const std::string& name : files) pictures.push_back(read_rgb(name, rules));
  if (!pictures.empty()) {
    std::vector<MediaItem> items = reader.images(pictures);
    for (size_t i = 0; i < items.size(); ++i) {
      media.push_back({std::move(items[i]), base_name(files[i]), {pictures[i]}});
    }
  }
  for (const std::string& name : video_names()) {
    media.push_back(read_clip(name, reader));
  }
  return media;
}

at::Tensor ImageFlags::read_for_tower(const fs::path& model) const {
  if (!video.empty())
    throw UsageError("--video: {} holds a vision tower alone, which gets pictures", model.string());
  if (!image.empty() == pixels.has_value()) {
    throw UsageError("{}: a vision tower alone; expected one of --pixels and --image", model.string());
  }
  if (pixels) {
    const auto file = open_checkpoint(*pixels);
    const TensorInfo* info = file->find("pixel_values");
    if (info == nullptr || info->shape.size() != 4 || info->shape[0] < 1 || info->shape[1] != 3) {
      throw InputError("--pixels {}: expected pixel_values [images, 3, S, S], found {}", *pixels,
                       info == nullptr ? "none" : fmt::format("[{}]", fmt::join(info->shape, ", ")));
    }
    return file->take("pixel_values", at::kFloat);
  }
  const PreprocessSettings settings = read_preprocess_settings(model);
  const DecodeOptions rules = decode.options();
  std::vector<at::Tensor> images;
  for (const std::string& name : names()) {
    images.push_back(preprocess_image(read_rgb(name, rules), settings).pixel_values);
  }
  return at::cat(images, 0);
}

}  // namespace ropescope::app
