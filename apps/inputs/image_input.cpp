#include "inputs/image_input.h"

#include <sstream>

#include <fmt/ranges.h>

#include <ATen/ops/cat.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"
#include "ropescope/text/chat_template.h"

namespace ropescope::app {

namespace fs = std::filesystem;

namespace {

at::Tensor take_pixels(const Checkpoint& file, int64_t dimensions, const std::string& what,
                       const std::string& path) {
  const TensorInfo* info = file.find("pixel_values");
  if (info == nullptr || static_cast<int64_t>(info->shape.size()) != dimensions || info->shape.empty() ||
      info->shape[0] < 1 || info->shape[static_cast<size_t>(dimensions) - 3] != 3) {
    throw InputError("--pixels {}: expected pixel_values {}, found {}", path, what,
                     info == nullptr ? "none" : fmt::format("[{}]", fmt::join(info->shape, ", ")));
  }
  return file.take("pixel_values", at::kFloat);
}

std::vector<LlavaImage> read_pixels(const std::string& path, const AnyresOptions& options) {
  const auto file = open_checkpoint(path);
  const at::Tensor pixels = take_pixels(*file, 5, "[images, tiles, 3, S, S]", path);
  const TensorInfo* sizes_info = file->find("image_sizes_hw");
  const std::vector<int64_t> expected = {pixels.size(0), 2};
  if (sizes_info == nullptr || sizes_info->shape != expected) {
    throw InputError(
        "--pixels {}: expected image_sizes_hw [{}, 2] (height, width), found {}", path, pixels.size(0),
        sizes_info == nullptr ? "none" : fmt::format("[{}]", fmt::join(sizes_info->shape, ", ")));
  }
  const at::Tensor sizes = file->take("image_sizes_hw", at::kLong);
  const auto* hw = sizes.const_data_ptr<int64_t>();
  std::vector<LlavaImage> images;
  for (int64_t i = 0; i < pixels.size(0); ++i) {
    images.push_back({pixels[i], anyres_geometry(hw[2 * i + 1], hw[2 * i], options)});
  }
  return images;
}

}  // namespace

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
      "pixels", pixels,
      "in place of --image: safetensors file with pixel_values [images,tiles,3,S,S] and image_sizes_hw [images,2]");
  flags.add("pinpoints", pinpoints,
            "how the checkpoint's grids are read: hf or original; default: as its form does");
  decode.bind(flags);
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
  std::vector<std::string> names;
  for (const std::string& list : image) {
    std::stringstream stream(list);
    for (std::string name; std::getline(stream, name, ',');) {
      if (name.empty()) throw UsageError("--image: expected names separated by commas, found an empty one");
      names.push_back(name);
    }
  }
  if (names.empty()) throw UsageError("--image: expected at least one file, found none");
  return names;
}

void ImageFlags::add_inputs(Provenance& provenance) const {
  if (pixels) provenance.add_input(*pixels);
  if (image.empty()) return;
  for (const std::string& name : names()) provenance.add_input(name);
}

std::string with_images_in_front(std::string text, size_t images) {
  if (count_images(text) > 0) return text;
  for (size_t i = 0; i < images; ++i) text.insert(0, std::string(kImageText) + "\n");
  return text;
}

std::vector<AnyresGeometry> ImageInput::geometries() const {
  std::vector<AnyresGeometry> result;
  for (const LlavaImage& image : images) result.push_back(image.geometry);
  return result;
}

ImageInput ImageFlags::read(const fs::path& model) const {
  if (!image.empty() && pixels) {
    throw UsageError("--image and --pixels: expected at most one of the two");
  }
  const PreprocessSettings settings = read_preprocess_settings(model, pinpoint_rule());
  if (!settings.anyres) {
    throw InputError("{}: expected a LLaVA-NeXT model, whose images are cut into tiles", model.string());
  }
  ImageInput input;
  const DecodeOptions rules = decode.options();
  if (pixels) {
    input.images = read_pixels(*pixels, *settings.anyres);
    return input;
  }
  for (const std::string& name : names()) {
    PreprocessedImage prepared = preprocess_image(read_rgb(name, rules), settings);
    input.images.push_back({prepared.pixel_values, *prepared.geometry});
  }
  return input;
}

at::Tensor ImageFlags::read_for_tower(const fs::path& model) const {
  if (!image.empty() == pixels.has_value()) {
    throw UsageError("{}: a vision tower alone; expected one of --pixels and --image", model.string());
  }
  if (pixels) return take_pixels(*open_checkpoint(*pixels), 4, "[images, 3, S, S]", *pixels);
  const PreprocessSettings settings = read_preprocess_settings(model);
  const DecodeOptions rules = decode.options();
  std::vector<at::Tensor> images;
  for (const std::string& name : names()) {
    images.push_back(preprocess_image(read_rgb(name, rules), settings).pixel_values);
  }
  return at::cat(images, 0);
}

}  // namespace ropescope::app
