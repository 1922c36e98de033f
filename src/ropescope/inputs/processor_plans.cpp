#include "ropescope/inputs/processor_plans.h"

#include <algorithm>

#include <fmt/ranges.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"
#include "ropescope/models/vlm.h"

namespace ropescope {

namespace {

using Tensors = std::map<std::string, at::Tensor>;

/// int64 [n, columns], or an empty one.
at::Tensor whole_rows(const Tensors& tensors, const char* name, int64_t columns) {
  const auto found = tensors.find(name);
  if (found == tensors.end()) return {};
  const at::Tensor& rows = found->second;
  if (rows.dim() != 2 || rows.size(1) != columns || rows.is_floating_point()) {
    throw InputError("{}: expected whole numbers [n, {}], found {} [{}]", name, columns,
                     rows.is_floating_point() ? "fractions" : "whole numbers", fmt::join(rows.sizes(), ", "));
  }
  return rows.to(at::kLong).contiguous();
}

/// Seconds from one group of frames to the next, of each clip: 1 where they are not said. `counted`: ids depend on them.
std::vector<double> seconds_of(const Tensors& tensors, int64_t clips, bool counted) {
  std::vector<double> seconds(static_cast<size_t>(clips), 1.0);
  const auto found = tensors.find("second_per_grid_ts");
  if (found == tensors.end()) {
    if (counted && clips > 0) {
      log_warning("second_per_grid_ts: not given: one second is taken from each group of frames to the next");
    }
    return seconds;
  }
  const at::Tensor given = found->second.to(at::kDouble).reshape({-1}).contiguous();
  if (given.numel() != clips) {
    throw InputError("second_per_grid_ts: expected a number for each of {} clips, found {}", clips,
                     given.numel());
  }
  std::copy_n(given.const_data_ptr<double>(), clips, seconds.begin());
  check_seconds(seconds, "second_per_grid_ts");
  return seconds;
}

void add_grids(const MediaProcessor& processor, const VlmConfig& config, MediaKind kind,
               const Tensors& tensors, std::vector<MediaPlan>& plans) {
  const bool video = kind == MediaKind::kVideo;
  const at::Tensor grids = whole_rows(tensors, video ? "video_grid_thw" : "image_grid_thw", 3);
  if (!grids.defined()) return;
  std::vector<double> seconds;
  if (video) seconds = seconds_of(tensors, grids.size(0), config.tokens_per_second > 0);
  const auto* grid = grids.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < grids.size(0); ++i, grid += 3) {
    plans.push_back(plan_of_grid(processor, kind, {grid[0], grid[1], grid[2]},
                                 video ? seconds[static_cast<size_t>(i)] : 0.0));
  }
}

void add_sized(const PictureReader& reader, const Tensors& tensors, std::vector<MediaPlan>& plans) {
  const at::Tensor sizes = whole_rows(tensors, "image_sizes", 2);
  if (!sizes.defined()) return;
  const auto counts = tensors.find("batch_num_images");
  const std::vector<bool> several =
      given_beside_others(sizes.size(0), counts == tensors.end() ? at::Tensor() : counts->second);
  const auto* hw = sizes.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < sizes.size(0); ++i) {
    plans.push_back(reader.plan_image(hw[2 * i + 1], hw[2 * i], several[static_cast<size_t>(i)] ? 2 : 1));
  }
}

void add_tiles(const PictureReader& reader, const MediaMarks& marks, const Tokenizer* tokenizer,
               const Tensors& tensors, const at::Tensor& input_ids, ProcessorPlans& result) {
  if (tokenizer == nullptr)
    throw InternalError("plans_of_tensors: expected a tokenizer of a model that tiles pictures");
  const MediaProcessor& processor = *reader.processor();
  const auto found = tensors.find("pixel_values");
  at::Tensor pixels = found == tensors.end() ? at::Tensor() : found->second.to(at::kFloat);
  if (pixels.defined() && pixels.dim() == 5) pixels = pixels.flatten(0, 1);
  int64_t first = 0;
  for (const TokenPicture& picture : tiled_pictures(input_ids, marks, processor, *tokenizer)) {
    const bool told = picture.grids.size() == 1;  // by the tokens
    if (!told && !pixels.defined()) {
      throw InputError(
          "pixel_values: expected the tiles of a picture of {}, whose grid input_ids do not tell, found none",
          picture.tiles);
    }
    if (pixels.defined() && (pixels.dim() != 4 || first + picture.tiles > pixels.size(0))) {
      throw InputError(
          "pixel_values: expected [tiles, 3, S, S] with the tiles of all pictures in input_ids, found [{}]",
          fmt::join(pixels.sizes(), ", "));
    }
    const at::Tensor own = told ? at::Tensor() : pixels.narrow(0, first, picture.tiles);
    auto [plan, unplaced] = plan_of_tiles(picture, own, processor);
    result.plans.push_back(std::move(plan));
    result.unplaced = result.unplaced || unplaced;
    first += picture.tiles;
  }
}

}  // namespace

MediaPlan plan_of_grid(const MediaProcessor& processor, MediaKind kind,
                       const std::array<int64_t, 3>& grid_thw, double second_per_grid) {
  MediaPlan plan = processor.plan_grid(kind, grid_thw, second_per_grid);
  for (size_t r = 1; r < plan.runs.size(); ++r) plan.runs[r].before = " ";
  return plan;
}

std::pair<MediaPlan, bool> plan_of_tiles(const TokenPicture& picture, const at::Tensor& pixels,
                                         const MediaProcessor& processor) {
  const auto grid = placed_tiles(picture, pixels);
  const bool tiled = grid && (*grid)[0] > 0;
  return {tiled ? processor.plan_tiles((*grid)[0], (*grid)[1])
                : side_by_side(picture.tiles, processor.settings()),
          !grid};
}

std::vector<bool> given_beside_others(int64_t pictures, const at::Tensor& batch_num_images) {
  std::vector<bool> several(static_cast<size_t>(pictures), false);
  if (!batch_num_images.defined()) return several;
  const at::Tensor counts = batch_num_images.to(at::kLong).reshape({-1}).contiguous();
  size_t image = 0;
  for (int64_t i = 0; i < counts.numel(); ++i) {
    const int64_t count = counts.const_data_ptr<int64_t>()[i];
    for (int64_t k = 0; k < count && image < several.size(); ++k) several[image++] = count > 1;
  }
  return several;
}

void check_seconds(const std::vector<double>& seconds, const std::string& name) {
  for (const double second : seconds) {
    if (!(second > 0) || !(second < 1e6)) {
      throw InputError("{}: expected seconds above 0, found {}", name, second);
    }
  }
}

bool has_placeholders(const at::Tensor& input_ids, const MediaMarks& marks) {
  const at::Tensor flat = input_ids.contiguous();
  const auto* ids = flat.const_data_ptr<int64_t>();
  return std::any_of(ids, ids + flat.numel(), [&](int64_t id) { return marks.holds(id); });
}

ProcessorPlans plans_of_tensors(const PictureReader& reader, const VlmConfig& config,
                                const Tokenizer* tokenizer, const std::map<std::string, at::Tensor>& tensors,
                                const at::Tensor& input_ids) {
  ProcessorPlans result;
  switch (config.pictures) {
    case PictureTokens::kPatches:
      add_grids(*reader.processor(), config, MediaKind::kImage, tensors, result.plans);
      add_grids(*reader.processor(), config, MediaKind::kVideo, tensors, result.plans);
      break;
    case PictureTokens::kAnyres:
      add_sized(reader, tensors, result.plans);
      break;
    case PictureTokens::kTiles:
      add_tiles(reader, media_marks(config), tokenizer, tensors, input_ids, result);
      break;
  }
  return result;
}

}  // namespace ropescope
