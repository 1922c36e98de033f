#include "ropescope/vision/media_processor.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/core/errors.h"
#include "ropescope/vision/image.h"
#include "ropescope/vision/preprocess.h"
#include "ropescope/vision/tilings/tiling.h"

namespace ropescope {

namespace {

/// Sides of pictures; products of two of them and of all frames stay exact.
constexpr int64_t kLongestMediaSide = int64_t{1} << 24;
/// Numbers that one picture or clip may become: 1 GiB of bytes, 4 GiB of float32.
constexpr int64_t kMostMediaNumbers = int64_t{1} << 30;
constexpr int64_t kMostMediaTokens = int64_t{1} << 24;

const Tiling& tiling_of(const std::string& family) {
  for (const Tiling& tiling : tilings()) {
    if (std::find(tiling.families.begin(), tiling.families.end(), family) != tiling.families.end())
      return tiling;
  }
  throw InternalError("no tiling of the family \"{}\"", family);
}

void check_media_size(int64_t width, int64_t height) {
  if (width < 1 || height < 1 || width > kLongestMediaSide || height > kLongestMediaSide) {
    throw InputError("picture size: expected a width and height in 1..{}, found {}x{}", kLongestMediaSide,
                     width, height);
  }
}

void check_media_tensor(const at::Tensor& image_HW3) {
  if (image_HW3.dim() != 3 || image_HW3.size(2) != 3 || image_HW3.scalar_type() != at::kByte) {
    throw InternalError("a picture: expected uint8 [H, W, 3], found {} dimensions", image_HW3.dim());
  }
}

/// Before anything of these sizes is allocated.
void check_media_memory(const MediaPlan& plan, const MediaSettings& settings) {
  const auto [groups, rows, columns] = plan.grid_thw;
  const auto square = static_cast<double>(settings.tile) * static_cast<double>(settings.tile);
  const double patch = static_cast<double>(settings.temporal_patch * settings.patch * settings.patch);
  const double numbers = plan.tiles > 0 ? 3.0 * static_cast<double>(plan.tiles) * square
                                        : 3.0 * static_cast<double>(groups) * static_cast<double>(rows) *
                                              static_cast<double>(columns) * patch;
  const int64_t edge = std::max(plan.size_wh[0], plan.size_wh[1]);
  const double laid_out = plan.square ? static_cast<double>(edge) * static_cast<double>(edge) : 0.0;
  if (numbers > static_cast<double>(kMostMediaNumbers) || laid_out > static_cast<double>(kMostImagePixels)) {
    throw InputError(
        "{}x{} pixels{}: would become {:.3g} numbers for {}, more than {}. Try a smaller picture, fewer "
        "frames or a smaller max_pixels",
        plan.size_wh[0], plan.size_wh[1],
        plan.kind == MediaKind::kVideo ? fmt::format(" in {} frames", plan.frames) : "",
        std::max(numbers, 3.0 * laid_out), settings.family, kMostMediaNumbers);
  }
}

void append_media(const MediaPlan& plan, std::string& text) {
  if (plan.tokens() > kMostMediaTokens) {
    throw InputError("a picture of {}x{} pixels: expected at most {} tokens, found {}", plan.size_wh[0],
                     plan.size_wh[1], kMostMediaTokens, plan.tokens());
  }
  for (const MediaRun& run : plan.runs) {
    text += run.before;
    for (int64_t i = 0; i < run.tokens; ++i) text += plan.placeholder;
  }
  text += plan.after;
}

at::Tensor integers(const std::vector<std::vector<int64_t>>& lines) {
  const auto count = static_cast<int64_t>(lines.size());
  const auto width = static_cast<int64_t>(lines.empty() ? 0 : lines[0].size());
  at::Tensor result = at::empty({count, width}, at::kLong);
  auto* out = result.mutable_data_ptr<int64_t>();
  for (const auto& line : lines) out = std::copy(line.begin(), line.end(), out);
  return result;
}

/// The values of several pictures, zeros behind those of pictures with fewer squares.
at::Tensor padded_stack(const std::vector<at::Tensor>& values) {
  int64_t most = 0;
  for (const at::Tensor& value : values) most = std::max(most, value.size(0));
  const auto& first = values[0];
  at::Tensor result =
      at::zeros({static_cast<int64_t>(values.size()), most, first.size(1), first.size(2), first.size(3)},
                first.options());
  for (size_t i = 0; i < values.size(); ++i) {
    result.select(0, static_cast<int64_t>(i)).slice(0, 0, values[i].size(0)).copy_(values[i]);
  }
  return result;
}

}  // namespace

MediaProcessor::MediaProcessor(MediaSettings settings)
    : settings_(std::move(settings)), tiling_(&tiling_of(settings_.family)) {
  for (size_t c = 0; c < 3; ++c) {
    if (!std::isfinite(settings_.mean[c]) || !std::isfinite(settings_.std[c]) || settings_.std[c] <= 0.0 ||
        !std::isfinite(settings_.rescale_factor)) {
      throw InputError(
          "{}: expected finite image_mean and rescale_factor and positive image_std, found {}, {} and {}",
          settings_.source, settings_.mean[c], settings_.rescale_factor, settings_.std[c]);
    }
  }
  if (settings_.words.image.empty())
    throw InputError("{}: expected an image token, found none", settings_.source);
  tiling_->check(settings_);
}

MediaPlan MediaProcessor::plan_image(int64_t width, int64_t height, bool one_of_several) const {
  check_media_size(width, height);
  return tiling_->plan_image(width, height, one_of_several, settings_);
}

MediaPlan MediaProcessor::plan_video(const ClipShape& clip) const {
  check_media_size(clip.width, clip.height);
  if (tiling_->plan_video == nullptr) {
    throw UnsupportedModel(
        "{}: clips are supported for the Qwen-VL and GLM-V families; give its frames as pictures",
        settings_.family);
  }
  return tiling_->plan_video(clip, settings_);
}

MediaPlan MediaProcessor::plan_grid(MediaKind kind, const std::array<int64_t, 3>& grid_thw,
                                    double second_per_grid) const {
  constexpr int64_t kLargest = 1 << 16;
  for (const int64_t size : grid_thw) {
    if (size < 1 || size > kLargest) {
      throw InputError("a grid of {}x{}x{} patches: expected 1..{} each", grid_thw[0], grid_thw[1],
                       grid_thw[2], kLargest);
    }
  }
  if (tiling_->plan_grid == nullptr) {
    throw InputError("a grid of patches: expected a Qwen-VL or GLM-V model, found {}", settings_.family);
  }
  MediaPlan plan = tiling_->plan_grid(kind, grid_thw, settings_);
  plan.second_per_grid = second_per_grid;
  return plan;
}

MediaPlan MediaProcessor::plan_tiles(int64_t rows, int64_t columns) const {
  constexpr int64_t kMost = 256;
  if (rows < 0 || columns < 0 || rows > kMost || columns > kMost || (rows == 0) != (columns == 0)) {
    throw InputError("{}x{} tiles: expected 1..{} rows and columns, or 0 and 0", rows, columns, kMost);
  }
  if (tiling_->plan_tiles == nullptr) {
    throw InputError("tiles: expected InternVL, Idefics3, SmolVLM or Gemma 3, found {}", settings_.family);
  }
  return tiling_->plan_tiles(rows, columns, settings_);
}

at::Tensor MediaProcessor::normalised(const at::Tensor& pixels_u8) const {
  PreprocessSettings normalisation;
  normalisation.rescale_factor = settings_.rescale_factor;
  normalisation.mean = settings_.mean;
  normalisation.std = settings_.std;
  // A patch holds its channels one after the other, as a tile does.
  const bool is_tile = pixels_u8.dim() == 4;
  const at::Tensor tiles = is_tile ? pixels_u8 : pixels_u8.view({pixels_u8.size(0), 3, 1, -1});
  return normalize_tiles(tiles, normalisation).view(pixels_u8.sizes());
}

MediaItem MediaProcessor::finish(MediaPlan plan, at::Tensor pixels_u8) const {
  at::Tensor values = normalised(pixels_u8);
  return {std::move(plan), std::move(pixels_u8), std::move(values)};
}

MediaItem MediaProcessor::image(const at::Tensor& image_HW3, bool one_of_several) const {
  check_media_tensor(image_HW3);
  MediaPlan plan = plan_image(image_HW3.size(1), image_HW3.size(0), one_of_several);
  check_media_memory(plan, settings_);
  at::Tensor pixels = tiling_->cut({image_HW3}, plan, settings_);
  return finish(std::move(plan), std::move(pixels));
}

std::vector<MediaItem> MediaProcessor::images(const std::vector<at::Tensor>& images_HW3,
                                              PictureList list) const {
  std::vector<MediaItem> items;
  for (const at::Tensor& picture : images_HW3) {
    items.push_back(image(picture, list == PictureList::kNested && images_HW3.size() > 1));
  }
  return items;
}

MediaItem MediaProcessor::video(const std::vector<at::Tensor>& frames_HW3,
                                const SampledFrames& frames) const {
  if (frames_HW3.empty() || frames_HW3.size() != frames.indices.size()) {
    throw InternalError("a clip: expected the {} frames that were sampled, found {}", frames.indices.size(),
                        frames_HW3.size());
  }
  for (const at::Tensor& frame : frames_HW3) {
    check_media_tensor(frame);
    if (frame.sizes() != frames_HW3[0].sizes()) {
      throw InputError("a clip: expected frames of one size, found {}x{} and {}x{}", frames_HW3[0].size(1),
                       frames_HW3[0].size(0), frame.size(1), frame.size(0));
    }
  }
  MediaPlan plan = plan_video({frames_HW3[0].size(1), frames_HW3[0].size(0), frames});
  check_media_memory(plan, settings_);
  at::Tensor pixels = tiling_->cut(frames_HW3, plan, settings_);
  return finish(std::move(plan), std::move(pixels));
}

std::string MediaProcessor::expand_text(const std::string& text, const std::vector<MediaPlan>& plans) const {
  std::vector<const MediaPlan*> pictures, clips;
  for (const MediaPlan& plan : plans) (plan.kind == MediaKind::kImage ? pictures : clips).push_back(&plan);
  const MediaTokens& words = settings_.words;
  std::string expanded;
  size_t picture = 0, clip = 0;
  for (size_t at = 0;;) {
    const size_t image_at = text.find(words.image, at);
    const size_t video_at = takes_video() ? text.find(words.video, at) : std::string::npos;
    const size_t next = std::min(image_at, video_at);
    expanded.append(text, at, next == std::string::npos ? next : next - at);
    if (next == std::string::npos) break;
    const bool is_image = next == image_at;
    const size_t number = is_image ? picture++ : clip++;
    const auto& of_kind = is_image ? pictures : clips;
    if (number < of_kind.size()) append_media(*of_kind[number], expanded);
    at = next + (is_image ? words.image : words.video).size();
  }
  if (picture != pictures.size() || clip != clips.size()) {
    throw InputError(
        "the prompt: expected a marker for each of {} pictures and {} clips, found {} {} and {} {}",
        pictures.size(), clips.size(), picture, words.image, clip, takes_video() ? words.video : "for clips");
  }
  return expanded;
}

std::map<std::string, at::Tensor> MediaProcessor::tensors(const std::vector<MediaItem>& items) const {
  std::map<std::string, at::Tensor> result;
  std::vector<at::Tensor> pictures, clips;
  std::vector<std::vector<int64_t>> picture_grids, clip_grids, sizes;
  std::vector<double> steps;
  bool nested = false;
  for (const MediaItem& item : items) {
    const bool is_image = item.plan.kind == MediaKind::kImage;
    (is_image ? pictures : clips).push_back(item.pixel_values);
    const auto& grid = item.plan.grid_thw;
    (is_image ? picture_grids : clip_grids).push_back({grid.begin(), grid.end()});
    if (is_image) {
      sizes.push_back({item.plan.size_wh[1], item.plan.size_wh[0]});
      nested = nested || item.plan.square;
    } else {
      steps.push_back(item.plan.second_per_grid);
    }
  }
  if (!clips.empty()) {
    result["pixel_values_videos"] = at::cat(clips);
    result["video_grid_thw"] = integers(clip_grids);
    if (family() == "qwen2_5_vl") {
      at::Tensor seconds = at::empty({static_cast<int64_t>(steps.size())}, at::kFloat);
      for (size_t i = 0; i < steps.size(); ++i) seconds[static_cast<int64_t>(i)] = steps[i];
      result["second_per_grid_ts"] = seconds;
    }
  }
  if (pictures.empty()) return result;
  switch (tiling_->packing) {
    case Packing::kPatches:
      result["pixel_values"] = at::cat(pictures);
      result["image_grid_thw"] = integers(picture_grids);
      break;
    case Packing::kSquares:
      result["pixel_values"] = at::cat(pictures);
      break;
    case Packing::kSequence: {
      const at::Tensor values = at::cat(pictures).unsqueeze(0);
      result["pixel_values"] = values;
      result["pixel_attention_mask"] =
          at::ones({1, values.size(1), values.size(3), values.size(4)}, at::kByte);
      break;
    }
    case Packing::kPadded:
      result["pixel_values"] = padded_stack(pictures);
      result["image_sizes"] = integers(sizes);
      result["batch_num_images"] =
          nested ? at::empty({1}, at::kLong).fill_(static_cast<int64_t>(pictures.size()))
                 : at::ones({static_cast<int64_t>(pictures.size())}, at::kLong);
      break;
  }
  return result;
}

Json MediaProcessor::report(const MediaPlan& plan) const {
  Json out = {{"size_wh", plan.size_wh}};
  tiling_->report(plan, settings_, out);
  out["tokens"] = plan.tokens();
  return out;
}

}  // namespace ropescope
