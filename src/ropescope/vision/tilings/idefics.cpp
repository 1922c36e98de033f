// Idefics3 and SmolVLM: the longer side is brought to one length (upwards too), then both to whole tiles; the tiles are cut
// row by row, and the enlarged picture, squeezed to one tile, comes last. Each tile's tokens follow a tag with its row and
// column.
#include <algorithm>
#include <array>
#include <cmath>

#include <ATen/ops/cat.h>

#include "ropescope/core/errors.h"
#include "ropescope/vision/tilings/tiling.h"

namespace ropescope {

namespace idefics_rules {

namespace {

using namespace tiling_parts;

/// Height and width with the longer side `longest`; the other one cut off, and made even by adding one.
std::array<int64_t, 2> longest_side_to(int64_t width, int64_t height, int64_t longest) {
  const double aspect = static_cast<double>(width) / static_cast<double>(height);
  const auto even = [](double side) {
    const int64_t whole = truncated(side);
    return std::max<int64_t>(whole + whole % 2, 1);
  };
  const auto edge = static_cast<double>(longest);
  if (width >= height) return {even(edge / aspect), longest};
  return {longest, even(edge * aspect)};
}

/// Both sides up to whole tiles; the second one is recomputed from the enlarged first.
std::array<int64_t, 2> whole_tiles(const std::array<int64_t, 2>& size_hw, int64_t tile) {
  const auto [height, width] = size_hw;
  const double aspect = static_cast<double>(width) / static_cast<double>(height);
  const auto up = [tile](int64_t side) { return std::max<int64_t>(ceil_div(side, tile), 1) * tile; };
  if (width >= height) {
    const int64_t w = up(width);
    return {up(truncated(static_cast<double>(w) / aspect)), w};
  }
  const int64_t h = up(height);
  return {h, up(truncated(static_cast<double>(h) * aspect))};
}

/// `resized_hw`: after each resize, the last one that of the mosaic.
MediaPlan mosaic_plan(const std::array<int64_t, 2>& size_wh, std::vector<std::array<int64_t, 2>> resized_hw,
                      const std::array<int64_t, 2>& rows_cols, const MediaSettings& settings) {
  const MediaTokens& words = settings.words;
  const int64_t side = settings.tile_tokens;
  MediaPlan plan;
  plan.size_wh = size_wh;
  plan.placeholder = words.placeholder;
  plan.cells = whole_cells(plan.size_wh, side, side);
  plan.resized_hw = std::move(resized_hw);
  plan.tiles_rows_cols = rows_cols;
  plan.after = words.fake;
  const auto [rows, columns] = rows_cols;
  plan.tiles = rows * columns + 1;
  if (rows * columns == 0) {
    plan.runs = {grid_run(MediaRun::Role::kWhole, side, side)};
    plan.runs[0].before = words.fake + words.global;
    return plan;
  }
  plan.thumbnail_hw = {side, side};
  plan.high_hw = {rows * side, columns * side};
  plan.high_cells = whole_cells(plan.size_wh, plan.high_hw[0], plan.high_hw[1]);
  for (int64_t i = 0; i < rows * columns; ++i) {
    MediaRun tile = grid_run(MediaRun::Role::kTile, side, side);
    const int64_t row = i / columns, column = i % columns;
    tile.row = row * side;
    tile.column = column * side;
    tile.lead = 2;                              // the fake token and the tag
    tile.tail = column + 1 == columns ? 1 : 0;  // a newline after each row
    tile.before = fmt::format("{}{}<row_{}_col_{}>", row > 0 && column == 0 ? "\n" : "", words.fake, row + 1,
                              column + 1);
    plan.runs.push_back(std::move(tile));
  }
  MediaRun whole = grid_run(MediaRun::Role::kThumbnail, side, side);
  whole.before = "\n\n" + words.fake + words.global;
  plan.runs.push_back(std::move(whole));
  return plan;
}

MediaPlan plan_image(int64_t width, int64_t height, bool /*one_of_several*/, const MediaSettings& settings) {
  std::vector<std::array<int64_t, 2>> resized_hw = {longest_side_to(width, height, settings.longest_edge)};
  std::array<int64_t, 2> rows_cols{};
  if (settings.split) {
    resized_hw.push_back(whole_tiles(resized_hw[0], settings.tile));
    const auto [h, w] = resized_hw[1];
    if (h > settings.tile || w > settings.tile) rows_cols = {h / settings.tile, w / settings.tile};
  } else {
    resized_hw.push_back({settings.tile, settings.tile});
  }
  return mosaic_plan({width, height}, std::move(resized_hw), rows_cols, settings);
}

MediaPlan plan_tiles(int64_t rows, int64_t columns, const MediaSettings& settings) {
  const int64_t height = std::max<int64_t>(rows, 1) * settings.tile,
                width = std::max<int64_t>(columns, 1) * settings.tile;
  return mosaic_plan({width, height}, {{height, width}}, {rows, columns}, settings);
}

at::Tensor cut(const std::vector<at::Tensor>& frames, const MediaPlan& plan, const MediaSettings& settings) {
  at::Tensor picture = frames[0];
  for (const auto& [height, width] : plan.resized_hw)
    picture = resize_image(picture, width, height, settings.filter);
  if (plan.tiles == 1) return squeezed(picture, settings.tile, settings.filter);
  return at::cat(
      {cut_square_tiles(picture, settings.tile), squeezed(picture, settings.tile, settings.filter)});
}

MediaSettings defaults(const std::string& family) {
  MediaSettings settings;
  settings.family = family;
  settings.mean = settings.std = kHalf;
  settings.filter = ResampleFilter::kLanczos;
  settings.words = {"<image>", "", "<image>", "", "", "<fake_token_around_image>", "<global-img>"};
  settings.tile = 364;
  settings.longest_edge = 4 * 364;
  settings.tile_tokens = 13;
  return settings;
}

MediaSettings preset(const std::string& name) {
  MediaSettings settings = defaults(name);
  if (name == "smolvlm") {
    settings.tile = 512;
    settings.longest_edge = 2048;
    settings.tile_tokens = 8;
    settings.patch = 16;
  }
  return settings;
}

void read(const ProcessorFiles& files, MediaSettings& settings) {
  static const Json nothing = Json::object();
  const std::string& what = files.what;
  if (const int64_t edge = edge_of(files.image, "size", "longest_edge", what)) settings.longest_edge = edge;
  if (const int64_t edge = edge_of(files.image, "max_image_size", "longest_edge", what)) settings.tile = edge;
  settings.split = json_bool_or(files.image, "do_image_splitting", true, what);
  const Json* found = json_find(files.config, "vision_config");
  const Json& tower = found != nullptr ? *found : nothing;
  // What the classes of the towers and of the models assume.
  settings.patch = side_or(tower, "patch_size", 32, what);
  settings.merge = json_integer_or(files.config, "scale_factor", 2, what);
  check_setting(settings, "max_image_size", settings.tile, 1, 8192);
  check_setting(settings, "patch_size", settings.patch, 1, 8192);
  check_setting(settings, "scale_factor", settings.merge, 1, 64);
  settings.tile_tokens = settings.tile / settings.patch / settings.merge;
  const int64_t tokens = settings.tile_tokens * settings.tile_tokens;
  const int64_t said = json_integer_or(files.processor, "image_seq_len", tokens, what);
  if (said != tokens) {
    throw InputError("{}: \"image_seq_len\": expected {} tokens a tile, as size and patches give, found {}",
                     what, tokens, said);
  }
  settings.words.image = settings.words.placeholder = token_text(files, "image_token", settings.words.image);
  settings.words.fake = token_text(files, "fake_image_token", settings.words.fake);
  settings.words.global = token_text(files, "global_image_token", settings.words.global);
}

void check(const MediaSettings& settings) {
  check_setting(settings, "max_image_size", settings.tile, 1, 8192);
  check_setting(settings, "tokens along a tile", settings.tile_tokens, 1, settings.tile);
  // More rows or columns have no tags.
  check_setting(settings, "size.longest_edge", settings.longest_edge, 1, 64 * settings.tile);
  check_setting(settings, "size.longest_edge", settings.longest_edge, 1, 16384);
}

void report(const MediaPlan& plan, const MediaSettings& settings, Json& out) {
  out["first_hw"] = plan.resized_hw[0];
  if (settings.split) out["second_hw"] = plan.resized_hw[1];
  out["resized_hw"] = plan.resized_hw.back();
  out["rows_cols"] = plan.tiles_rows_cols;
  out["frames"] = plan.tiles;
}

}  // namespace

}  // namespace idefics_rules

extern const Tiling kIdeficsTiling;
const Tiling kIdeficsTiling = {
    {"idefics3", "smolvlm"},
    {"idefics3", "smolvlm"},
    idefics_rules::preset,
    idefics_rules::defaults,
    idefics_rules::read,
    idefics_rules::check,
    idefics_rules::plan_image,
    nullptr,
    nullptr,
    idefics_rules::plan_tiles,
    idefics_rules::cut,
    idefics_rules::report,
    Packing::kSequence,
};

}  // namespace ropescope
