// InternVL: the picture is squeezed to a mosaic of tiles whose shape is nearest to its own, the tiles are cut row by row;
// with more than one of them the whole picture, squeezed to one tile, comes last.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include <ATen/ops/cat.h>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/core/errors.h"
#include "ropescope/vision/tilings/tiling.h"

namespace ropescope {

namespace internvl_rules {

namespace {

using namespace tiling_parts;

/// [columns, rows]. Grids in the order of their number of tiles (columns outermost among equals); the nearest ratio wins;
/// at an exact tie the later one, if the picture has more than half of its pixels.
std::array<int64_t, 2> nearest_grid(int64_t width, int64_t height, const MediaSettings& settings) {
  std::vector<std::array<int64_t, 2>> grids;
  for (int64_t columns = 1; columns <= settings.max_tiles; ++columns) {
    for (int64_t rows = 1; rows * columns <= settings.max_tiles; ++rows) {
      if (rows * columns >= settings.min_tiles) grids.push_back({columns, rows});
    }
  }
  std::stable_sort(grids.begin(), grids.end(),
                   [](const auto& a, const auto& b) { return a[0] * a[1] < b[0] * b[1]; });
  const double aspect = static_cast<double>(width) / static_cast<double>(height);
  const double area = static_cast<double>(width) * static_cast<double>(height);
  std::array<int64_t, 2> best{1, 1};
  double best_distance = std::numeric_limits<double>::infinity();
  for (const auto& grid : grids) {
    const double distance = std::abs(aspect - static_cast<double>(grid[0]) / static_cast<double>(grid[1]));
    const double half = 0.5 * static_cast<double>(settings.tile * settings.tile * grid[0] * grid[1]);
    if (distance < best_distance || (distance == best_distance && area > half)) {
      best = grid;
      best_distance = distance;
    }
  }
  return best;
}

MediaPlan mosaic_plan(const std::array<int64_t, 2>& size_wh, int64_t rows, int64_t columns,
                      const MediaSettings& settings) {
  const int64_t side = settings.tile_tokens;
  MediaPlan plan;
  plan.size_wh = size_wh;
  plan.resized_hw = {{rows * settings.tile, columns * settings.tile}};
  plan.tiles_rows_cols = {rows, columns};
  plan.cells = whole_cells(plan.size_wh, side, side);
  plan.placeholder = settings.words.placeholder;
  plan.after = settings.words.end;
  if (rows * columns == 1) {
    plan.tiles = 1;
    plan.runs = {grid_run(MediaRun::Role::kWhole, side, side)};
  } else {
    plan.tiles = rows * columns + 1;
    plan.thumbnail_hw = {side, side};
    plan.high_hw = {rows * side, columns * side};
    plan.high_cells = whole_cells(plan.size_wh, plan.high_hw[0], plan.high_hw[1]);
    for (int64_t i = 0; i < rows * columns; ++i) {
      plan.runs.push_back(grid_run(MediaRun::Role::kTile, side, side));
      plan.runs.back().row = i / columns * side;
      plan.runs.back().column = i % columns * side;
    }
    plan.runs.push_back(grid_run(MediaRun::Role::kThumbnail, side, side));
  }
  plan.runs.front().before = settings.words.start;
  return plan;
}

MediaPlan plan_image(int64_t width, int64_t height, bool /*one_of_several*/, const MediaSettings& settings) {
  const auto [columns, rows] =
      settings.split ? nearest_grid(width, height, settings) : std::array<int64_t, 2>{1, 1};
  return mosaic_plan({width, height}, rows, columns, settings);
}

MediaPlan plan_tiles(int64_t rows, int64_t columns, const MediaSettings& settings) {
  rows = std::max<int64_t>(rows, 1);
  columns = std::max<int64_t>(columns, 1);
  return mosaic_plan({columns * settings.tile, rows * settings.tile}, rows, columns, settings);
}

at::Tensor cut(const std::vector<at::Tensor>& frames, const MediaPlan& plan, const MediaSettings& settings) {
  const auto [height, width] = plan.resized_hw.back();
  const at::Tensor tiles =
      cut_square_tiles(resize_image(frames[0], width, height, settings.filter), settings.tile);
  if (plan.tiles == 1) return tiles;
  return at::cat({tiles, squeezed(frames[0], settings.tile, settings.filter)});
}

MediaSettings defaults(const std::string& family) {
  MediaSettings settings;
  settings.family = family;
  settings.mean = kImagenetMeans;
  settings.std = kImagenetStds;
  settings.words = {"<IMG_CONTEXT>", "", "<IMG_CONTEXT>", "<img>", "</img>", "", ""};
  settings.tile = 448;
  settings.tile_tokens = 16;
  return settings;
}

MediaSettings preset(const std::string& /*name*/) { return defaults("internvl"); }

/// OpenGVLab's repositories (model_type internvl_chat) say in config.json how pictures are cut.
void read_original(const Json& config, const std::string& what, MediaSettings& settings) {
  if (!json_bool_or(config, "use_thumbnail", true, what)) {
    throw UnsupportedModel("{}: \"use_thumbnail\": expected true, found false", what);
  }
  settings.min_tiles = json_integer_or(config, "min_dynamic_patch", 1, what);
  settings.max_tiles = json_integer_or(config, "max_dynamic_patch", 12, what);
  if (!json_bool_or(config, "dynamic_image_size", true, what)) settings.max_tiles = settings.min_tiles = 1;
}

void read(const ProcessorFiles& files, MediaSettings& settings) {
  static const Json nothing = Json::object();
  const std::string& what = files.what;
  const Json* found = json_find(files.config, "vision_config");
  const Json& tower = found != nullptr ? *found : nothing;
  const bool original = json_find(files.config, "llm_config") != nullptr;
  settings.tile = square_size(files.image, "size", what);
  // The size that the model is used with, whatever the other files say.
  if (original) settings.tile = json_integer_or(files.config, "force_image_size", settings.tile, what);
  if (settings.tile == 0) throw InputError("{}: \"size\": expected the size of a tile, found none", what);
  // Not "crop_to_patches": the processor asks its image processor for tiles whatever that file says, and the public files
  // say false.
  settings.split = true;
  settings.min_tiles = json_integer_or(files.image, "min_patches", settings.min_tiles, what);
  settings.max_tiles = json_integer_or(files.image, "max_patches", settings.max_tiles, what);
  if (original) read_original(files.config, what, settings);
  settings.patch = side_or(tower, "patch_size", settings.patch, what);
  const double ratio = json_number_or(files.config, "downsample_ratio", 0.5, what);
  if (!(ratio > 0.0 && ratio <= 1.0) || 1.0 / ratio != std::nearbyint(1.0 / ratio)) {
    throw InputError("{}: \"downsample_ratio\": expected 1 over a whole number, found {}", what, ratio);
  }
  settings.merge = static_cast<int64_t>(std::nearbyint(1.0 / ratio));
  check_setting(settings, "patch_size", settings.patch, 1, 8192);
  check_setting(settings, "size", settings.tile, 1, 8192);
  settings.tile_tokens = settings.tile / settings.patch / settings.merge;
  settings.words.placeholder = token_text(files, "context_image_token", settings.words.placeholder);
  // OpenGVLab's own code has <image> in its prompts.
  settings.words.image = original ? "<image>" : settings.words.placeholder;
  settings.words.start = token_text(files, "start_image_token", settings.words.start);
  settings.words.end = token_text(files, "end_image_token", settings.words.end);
  const int64_t tokens = settings.tile_tokens * settings.tile_tokens;
  const int64_t said = json_integer_or(files.processor, "image_seq_length",
                                       json_integer_or(files.config, "image_seq_length", tokens, what), what);
  if (said != tokens) {
    throw InputError(
        "{}: \"image_seq_length\": expected {} tokens a tile, as size and patches give, found {}", what,
        tokens, said);
  }
}

void check(const MediaSettings& settings) {
  check_setting(settings, "size", settings.tile, 1, 8192);
  check_setting(settings, "tokens along a tile", settings.tile_tokens, 1, settings.tile);
  check_setting(settings, "min_patches", settings.min_tiles, 1, 256);
  check_setting(settings, "max_patches", settings.max_tiles, settings.min_tiles, 256);
}

void report(const MediaPlan& plan, const MediaSettings& /*settings*/, Json& out) {
  out["resized_hw"] = plan.resized_hw.back();
  out["tiles_cols_rows"] = {plan.tiles_rows_cols[1], plan.tiles_rows_cols[0]};
}

}  // namespace

}  // namespace internvl_rules

extern const Tiling kInternvlTiling;
const Tiling kInternvlTiling = {
    {"internvl", "internvl_chat"},
    {"internvl"},
    internvl_rules::preset,
    internvl_rules::defaults,
    internvl_rules::read,
    internvl_rules::check,
    internvl_rules::plan_image,
    nullptr,
    nullptr,
    internvl_rules::plan_tiles,
    internvl_rules::cut,
    internvl_rules::report,
    Packing::kSquares,
};

}  // namespace ropescope
