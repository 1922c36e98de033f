// Gemma 3: the picture squeezed to a square; with pan and scan also crops side by side along its longer side, each squeezed
// to the square, introduced by words.
#include <algorithm>
#include <array>
#include <cmath>

#include <ATen/ops/cat.h>

#include "ropescope/core/errors.h"
#include "ropescope/vision/tilings/tiling.h"

namespace ropescope {

namespace gemma_rules {

namespace {

using namespace tiling_parts;

/// How many crops along the longer side; 0: none.
int64_t crop_count(int64_t longer, int64_t shorter, const MediaSettings& settings) {
  const double ratio = static_cast<double>(longer) / static_cast<double>(shorter);
  if (ratio < settings.min_crop_ratio) return 0;
  const auto rounded = static_cast<int64_t>(std::floor(ratio + 0.5));
  const int64_t fitting = std::min(longer / settings.min_crop, rounded);
  const int64_t count = std::min(std::max<int64_t>(fitting, 2), settings.max_crops);
  return std::min(ceil_div(longer, count), shorter) < settings.min_crop ? 0 : count;
}

/// `count` crops along the longer side.
MediaPlan crops_plan(int64_t width, int64_t height, int64_t count, bool across,
                     const MediaSettings& settings) {
  const MediaTokens& words = settings.words;
  const int64_t side = settings.tile_tokens;
  MediaPlan plan;
  plan.size_wh = {width, height};
  plan.resized_hw = {{settings.tile, settings.tile}};
  plan.placeholder = words.placeholder;
  plan.cells = whole_cells(plan.size_wh, side, side);
  plan.tiles = 1;
  const std::string begin = "\n\n" + words.start, end = words.end + "\n\n";
  plan.after = end;
  plan.runs = {grid_run(count > 0 ? MediaRun::Role::kThumbnail : MediaRun::Role::kWhole, side, side)};
  plan.runs[0].before = begin;
  if (count == 0) return plan;

  const int64_t longer = across ? width : height, length = ceil_div(longer, count);
  plan.tiles += count;
  plan.tiles_rows_cols = across ? std::array<int64_t, 2>{1, count} : std::array<int64_t, 2>{count, 1};
  plan.thumbnail_hw = {side, side};
  plan.high_hw = {side * plan.tiles_rows_cols[0], side * plan.tiles_rows_cols[1]};
  plan.high_cells = plan.cells;
  (across ? plan.high_cells.width : plan.high_cells.height) =
      static_cast<double>(length) / static_cast<double>(side);
  plan.runs[0].before = "Here is the original image " + begin;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t first = i * length, left = across ? first : 0, top = across ? 0 : first;
    if (first >= longer) {
      throw InputError(
          "{}x{} pixels: expected a picture that {} crops cover, each with pixels; a larger "
          "pan_and_scan_min_crop_size avoids this",
          width, height, count);
    }
    plan.crops_tlhw.push_back({top, left, std::min(across ? height : length, height - top),
                               std::min(across ? length : width, width - left)});
    MediaRun crop = grid_run(MediaRun::Role::kTile, side, side);
    (across ? crop.column : crop.row) = i * side;
    crop.lead = i == 0 ? 2 : 3;  // newlines and start token; between crops a space too
    crop.tail = 2;               // end token and newlines
    crop.before = end + (i == 0 ? " and here are some crops to help you see better " : " ") + begin;
    plan.runs.push_back(std::move(crop));
  }
  return plan;
}

MediaPlan plan_image(int64_t width, int64_t height, bool /*one_of_several*/, const MediaSettings& settings) {
  const int64_t count =
      settings.split ? crop_count(std::max(width, height), std::min(width, height), settings) : 0;
  return crops_plan(width, height, count, width >= height, settings);
}

MediaPlan plan_tiles(int64_t rows, int64_t columns, const MediaSettings& settings) {
  if (rows > 1 && columns > 1) {
    throw InputError("{}x{} crops: expected them in one row or one column", rows, columns);
  }
  const bool across = columns >= rows;
  const int64_t along = settings.tile * std::max<int64_t>({rows, columns, 1});
  return crops_plan(across ? along : settings.tile, across ? settings.tile : along, rows * columns, across,
                    settings);
}

at::Tensor cut(const std::vector<at::Tensor>& frames, const MediaPlan& plan, const MediaSettings& settings) {
  std::vector<at::Tensor> squares = {squeezed(frames[0], settings.tile, settings.filter)};
  for (const auto& [top, left, height, width] : plan.crops_tlhw) {
    const at::Tensor crop = frames[0].slice(0, top, top + height).slice(1, left, left + width);
    squares.push_back(squeezed(crop, settings.tile, settings.filter));
  }
  return at::cat(squares);
}

MediaSettings defaults(const std::string& family) {
  MediaSettings settings;
  settings.family = family;
  settings.mean = settings.std = kHalf;
  settings.filter = ResampleFilter::kBilinear;
  settings.words = {
      "<start_of_image>", "", "<image_soft_token>", "<start_of_image>", "<end_of_image>", "", ""};
  settings.tile = 224;
  settings.tile_tokens = 16;
  settings.split = false;
  return settings;
}

MediaSettings preset(const std::string& /*name*/) {
  MediaSettings settings = defaults("gemma3");
  settings.tile = 896;
  settings.split = true;
  return settings;
}

void read(const ProcessorFiles& files, MediaSettings& settings) {
  static const Json nothing = Json::object();
  const std::string& what = files.what;
  if (const int64_t size = square_size(files.image, "size", what)) settings.tile = size;
  settings.split = json_bool_or(files.image, "do_pan_and_scan", false, what);
  settings.min_crop = json_integer_or(files.image, "pan_and_scan_min_crop_size", settings.min_crop, what);
  settings.max_crops = json_integer_or(files.image, "pan_and_scan_max_num_crops", settings.max_crops, what);
  settings.min_crop_ratio =
      json_number_or(files.image, "pan_and_scan_min_ratio_to_activate", settings.min_crop_ratio, what);
  const int64_t tokens = json_integer_or(files.config, "mm_tokens_per_image", 256, what);
  const int64_t said = json_integer_or(files.processor, "image_seq_length", tokens, what);
  check_setting(settings, "mm_tokens_per_image", tokens, 1, 1 << 24);
  const auto side = static_cast<int64_t>(std::lround(std::sqrt(static_cast<double>(tokens))));
  if (side * side != tokens || said != tokens) {
    throw InputError(
        "{}: expected a square number of tokens, the same in \"mm_tokens_per_image\" and "
        "\"image_seq_length\", found {} and {}",
        what, tokens, said);
  }
  settings.tile_tokens = side;
  const Json* found = json_find(files.config, "vision_config");
  settings.patch = side_or(found != nullptr ? *found : nothing, "patch_size", 16, what);
  settings.words.placeholder = token_text(files, "image_token", settings.words.placeholder);
  settings.words.image = settings.words.start = token_text(files, "boi_token", settings.words.start);
  settings.words.end = token_text(files, "eoi_token", settings.words.end);
}

void check(const MediaSettings& settings) {
  check_setting(settings, "size", settings.tile, 1, 8192);
  check_setting(settings, "tokens along a side", settings.tile_tokens, 1, settings.tile);
  check_setting(settings, "pan_and_scan_min_crop_size", settings.min_crop, 1, 1 << 24);
  check_setting(settings, "pan_and_scan_max_num_crops", settings.max_crops, 1, 256);
  if (!(settings.min_crop_ratio >= 1.0)) {
    throw InputError("{}: \"pan_and_scan_min_ratio_to_activate\": expected at least 1, found {}",
                     settings.source, settings.min_crop_ratio);
  }
}

void report(const MediaPlan& plan, const MediaSettings& /*settings*/, Json& out) {
  out["resized_hw"] = plan.resized_hw.back();
  out["crops_hw"] = Json::array();
  for (const auto& crop : plan.crops_tlhw) out["crops_hw"].push_back({crop[2], crop[3]});
}

}  // namespace

}  // namespace gemma_rules

extern const Tiling kGemmaTiling;
const Tiling kGemmaTiling = {
    {"gemma3"},
    {"gemma3"},
    gemma_rules::preset,
    gemma_rules::defaults,
    gemma_rules::read,
    gemma_rules::check,
    gemma_rules::plan_image,
    nullptr,
    nullptr,
    gemma_rules::plan_tiles,
    gemma_rules::cut,
    gemma_rules::report,
    Packing::kSquares,
};

}  // namespace ropescope
