// --pixels: the tensors that a processor hands to a model, under its names.
#include <algorithm>
#include <initializer_list>
#include <tuple>

#include <fmt/ranges.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"
#include "ropescope/inputs/processor_plans.h"

#include "inputs/image_input.h"

namespace ropescope::app {

namespace {

/// A safetensors file of pixels, and how it is named in errors.
class PixelFile {
 public:
  explicit PixelFile(const std::string& path) : path_(path), file_(open_checkpoint(path)) {}

  bool has(const char* name) const { return file_->find(name) != nullptr; }

  /// A tensor whose shape is `form`, -1 for any size of at least 1.
  at::Tensor take(const char* name, at::ScalarType type, const std::vector<int64_t>& form) const {
    const TensorInfo* info = file_->find(name);
    bool fits = info != nullptr && info->shape.size() == form.size();
    for (size_t i = 0; fits && i < form.size(); ++i) {
      fits = form[i] < 0 ? info->shape[i] > 0 : info->shape[i] == form[i];
    }
    if (!fits) {
      std::vector<std::string> wanted;
      for (const int64_t size : form) wanted.push_back(size < 0 ? "n" : std::to_string(size));
      throw InputError("--pixels {}: expected {} [{}], found {}", path_, name, fmt::join(wanted, ", "),
                       info == nullptr ? "none" : fmt::format("[{}]", fmt::join(info->shape, ", ")));
    }
    return file_->take(name, type).contiguous();
  }

  int64_t dimensions(const char* name) const {
    const TensorInfo* info = file_->find(name);
    return info == nullptr ? 0 : static_cast<int64_t>(info->shape.size());
  }

  const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::shared_ptr<const Checkpoint> file_;
};

void add_grids(const PixelFile& file, const PictureReader& reader, const VlmConfig& config, bool video,
               std::vector<NamedMedia>& media) {
  const char* values = video ? "pixel_values_videos" : "pixel_values";
  const char* grids = video ? "video_grid_thw" : "image_grid_thw";
  if (!file.has(values) && !file.has(grids)) return;
  const int64_t patch =
      3 * config.vision.temporal_patch_size * config.vision.patch_size * config.vision.patch_size;
  const at::Tensor pixels = file.take(values, at::kFloat, {-1, patch});
  const at::Tensor thw = file.take(grids, at::kLong, {-1, 3});
  const int64_t count = thw.size(0);
  at::Tensor seconds;
  if (video && file.has("second_per_grid_ts")) seconds = file.take("second_per_grid_ts", at::kFloat, {count});
  if (video && !seconds.defined() && config.tokens_per_second > 0) {
    log_warning(
        "--pixels {}: no second_per_grid_ts: one second is taken from each group of frames to the next",
        file.path());
  }
  int64_t first = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double second = seconds.defined() ? static_cast<double>(seconds.const_data_ptr<float>()[i]) : 1.0;
    NamedMedia one;
    const auto* grid = thw.const_data_ptr<int64_t>() + 3 * i;
    one.item.plan = plan_of_grid(*reader.processor(), video ? MediaKind::kVideo : MediaKind::kImage,
                                 {grid[0], grid[1], grid[2]}, second);
    const auto [t, h, w] = one.item.plan.grid_thw;
    const int64_t patches = t * h * w;
    if (patches > pixels.size(0) - first) {
      throw InputError("--pixels {}: {}: expected the patches of {} grids, found {} patches", file.path(),
                       values, count, pixels.size(0));
    }
    one.item.pixel_values = pixels.narrow(0, first, patches);
    first += patches;
    media.push_back(std::move(one));
  }
  if (first != pixels.size(0)) {
    throw InputError("--pixels {}: {}: expected {} patches as {} says, found {}", file.path(), values, first,
                     grids, pixels.size(0));
  }
}

/// Pictures whose sizes are told: [images, tiles, 3, S, S], thumbnail first.
void add_sized(const PixelFile& file, const PictureReader& reader, std::vector<NamedMedia>& media) {
  const at::Tensor pixels = file.take("pixel_values", at::kFloat, {-1, -1, 3, -1, -1});
  const char* name =
      file.has("image_sizes_hw") || !file.has("image_sizes") ? "image_sizes_hw" : "image_sizes";
  const at::Tensor sizes = file.take(name, at::kLong, {pixels.size(0), 2});
  const auto* hw = sizes.const_data_ptr<int64_t>();
  const std::vector<bool> several = given_beside_others(
      pixels.size(0),
      file.has("batch_num_images") ? file.take("batch_num_images", at::kLong, {-1}) : at::Tensor());
  for (int64_t i = 0; i < pixels.size(0); ++i) {
    NamedMedia one;
    one.item.plan = reader.plan_image(hw[2 * i + 1], hw[2 * i], several[static_cast<size_t>(i)] ? 2 : 1);
    const int64_t tiles = one.item.plan.tiles;
    if (pixels.size(1) < tiles) {
      throw InputError("pixel_values: an image of {}x{} pixels has {} tiles, found {}", hw[2 * i + 1],
                       hw[2 * i], tiles, pixels.size(1));
    }
    one.item.pixel_values = pixels[i].narrow(0, 0, tiles);
    media.push_back(std::move(one));
  }
}

/// Tiles alone: [tiles, 3, S, S], or [1, tiles, 3, S, S]; the tokens say which of them are one picture.
void add_tiles(const PixelFile& file, const PictureReader& reader, const MediaMarks& marks,
               const Tokenizer& tokenizer, const at::Tensor& input_ids, std::vector<NamedMedia>& media) {
  at::Tensor pixels;
  if (file.dimensions("pixel_values") == 5) {
    pixels = file.take("pixel_values", at::kFloat, {-1, -1, 3, -1, -1}).flatten(0, 1);
  } else {
    pixels = file.take("pixel_values", at::kFloat, {-1, 3, -1, -1});
  }
  int64_t first = 0;
  for (const TokenPicture& found : tiled_pictures(input_ids, marks, *reader.processor(), tokenizer)) {
    if (first + found.tiles > pixels.size(0)) {
      throw InputError(
          "--pixels {}: pixel_values: expected as many tiles as input_ids have placeholder tokens for, found {}",
          file.path(), pixels.size(0));
    }
    NamedMedia one;
    one.item.pixel_values = pixels.narrow(0, first, found.tiles);
    std::tie(one.item.plan, one.unplaced) = plan_of_tiles(found, one.item.pixel_values, *reader.processor());
    first += found.tiles;
    media.push_back(std::move(one));
  }
  if (first != pixels.size(0)) {
    throw InputError("--pixels {}: pixel_values: {} tiles, of which input_ids have the tokens of {}",
                     file.path(), pixels.size(0), first);
  }
}

}  // namespace

std::vector<NamedMedia> ImageFlags::read_pixels(const std::filesystem::path& model,
                                                const PictureReader& reader, const VlmConfig& config,
                                                const at::Tensor& input_ids) const {
  if (!image.empty() || !video.empty()) {
    throw UsageError("--{} and --pixels: expected at most one of the two", first_given());
  }
  const PixelFile file(*pixels);
  std::vector<NamedMedia> media;
  switch (config.pictures) {
    case PictureTokens::kPatches:
      add_grids(file, reader, config, /*video=*/false, media);
      add_grids(file, reader, config, /*video=*/true, media);
      break;
    case PictureTokens::kAnyres:
      add_sized(file, reader, media);
      break;
    case PictureTokens::kTiles:
      add_tiles(file, reader, media_marks(config), *load_tokenizer(model), input_ids, media);
      break;
  }
  if (media.empty()) {
    throw InputError("--pixels {}: expected pixel_values or pixel_values_videos, found neither", *pixels);
  }
  return media;
}

}  // namespace ropescope::app
