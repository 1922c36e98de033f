// LLaVA-OneVision: LLaVA-NeXT's anyres with up to 36 tiles, whose map of features is shrunk where it has more cells than
// `most_map_tiles` tiles; thumbnail first, a newline token after each row. Several pictures in a nested list are not
// tiled: each is laid on a square of the mean colour and becomes one tile and one newline token.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/core/errors.h"
#include "ropescope/vision/tilings/tiling.h"

namespace ropescope {

namespace onevision_rules {

namespace {

using namespace tiling_parts;

constexpr std::string_view kAspectPrefix = "anyres_max_";

AnyresOptions anyres_options(const MediaSettings& settings) {
  // The processor's grid is tile / patch cells along a side; tile_tokens is just that.
  return {settings.pinpoints, PinpointRule::kHf, settings.tile, settings.patch, true};
}

/// Python's a // b of positive numbers: by the remainder, not by rounding a / b.
int64_t floor_divided(double a, double b) {
  const double quotient = (a - std::fmod(a, b)) / b;
  const double whole = std::floor(quotient);
  return static_cast<int64_t>(quotient - whole > 0.5 ? whole + 1.0 : whole);
}

/// The map of features after shrinking.
std::array<int64_t, 2> shrunk_map(const std::array<int64_t, 2>& map_hw, const MediaSettings& settings) {
  const auto h = static_cast<double>(map_hw[0]), w = static_cast<double>(map_hw[1]);
  const auto most =
      static_cast<double>(settings.most_map_tiles * settings.tile_tokens * settings.tile_tokens);
  const double ratio = std::sqrt(h * w / most);
  if (ratio <= 1.1) return map_hw;
  return {floor_divided(h, ratio), floor_divided(w, ratio)};
}

MediaPlan plan_one_of_several(int64_t width, int64_t height, const MediaSettings& settings) {
  const int64_t side = settings.tile_tokens;
  MediaPlan plan;
  plan.size_wh = {width, height};
  plan.square = true;
  plan.resized_hw = {{settings.tile, settings.tile}};
  plan.tiles = 1;
  plan.placeholder = settings.words.placeholder;
  plan.runs = {grid_run(MediaRun::Role::kWhole, side, side)};
  plan.runs[0].newlines = 1;
  plan.runs[0].tokens += 1;
  const int64_t edge = std::max(width, height);
  plan.cells = whole_cells({edge, edge}, side, side);
  plan.cells.left = -static_cast<double>((edge - width) / 2);
  plan.cells.top = -static_cast<double>((edge - height) / 2);
  return plan;
}

MediaPlan plan_image(int64_t width, int64_t height, bool one_of_several, const MediaSettings& settings) {
  if (one_of_several) return plan_one_of_several(width, height, settings);
  const AnyresGeometry geometry = anyres_geometry(width, height, anyres_options(settings));
  const auto [resized_w, resized_h] = geometry.resized_wh;
  if (!geometry.feat_offset_rc || resized_w < 1 || resized_h < 1) {
    throw InputError("{}x{} pixels: too narrow, no row or column of its {}x{} map of features is left", width,
                     height, geometry.feat_full_HW[0], geometry.feat_full_HW[1]);
  }
  MediaPlan plan = anyres_plan(geometry, shrunk_map(geometry.feat_H1W1, settings), settings.tile);
  plan.placeholder = settings.words.placeholder;
  return plan;
}

at::Tensor cut(const std::vector<at::Tensor>& frames, const MediaPlan& plan, const MediaSettings& settings) {
  if (plan.square)
    return squeezed(padded_to_square(frames[0], settings.mean), settings.tile, settings.filter);
  const auto [rows, columns] = plan.tiles_rows_cols;
  const at::Tensor mosaic = at::zeros({rows * settings.tile, columns * settings.tile, 3}, at::kByte);
  const auto [height, width] = plan.resized_hw.back();
  const int64_t left = plan.anyres->pad_ltrb[0], top = plan.anyres->pad_ltrb[1];
  mosaic.slice(0, top, top + height)
      .slice(1, left, left + width)
      .copy_(resize_image(frames[0], width, height, settings.filter));
  return at::cat(
      {squeezed(frames[0], settings.tile, settings.filter), cut_square_tiles(mosaic, settings.tile)});
}

std::vector<std::array<int64_t, 2>> all_grids(int64_t tile) {
  std::vector<std::array<int64_t, 2>> grids;
  for (int64_t rows = 1; rows <= 6; ++rows) {
    for (int64_t columns = 1; columns <= 6; ++columns) grids.push_back({rows * tile, columns * tile});
  }
  return grids;
}

MediaSettings defaults(const std::string& family) {
  MediaSettings settings;
  settings.family = family;
  settings.mean = settings.std = kHalf;
  settings.words.image = settings.words.placeholder = "<image>";
  settings.merge = 1;
  settings.tile = 384;
  settings.tile_tokens = 27;
  settings.pinpoints = all_grids(settings.tile);
  return settings;
}

MediaSettings preset(const std::string& /*name*/) { return defaults("llava_onevision"); }

void read(const ProcessorFiles& files, MediaSettings& settings) {
  static const Json nothing = Json::object();
  const std::string& what = files.what;
  if (const int64_t size = square_size(files.image, "size", what)) settings.tile = size;
  check_setting(settings, "size", settings.tile, 1, 8192);
  const Json* list = json_find(files.image, "image_grid_pinpoints");
  if (list == nullptr) list = json_find(files.config, "image_grid_pinpoints");
  settings.pinpoints = list != nullptr ? parse_pinpoints(*list, what + ": \"image_grid_pinpoints\"")
                                       : all_grids(settings.tile);
  const Json* found = json_find(files.config, "vision_config");
  settings.patch = side_or(found != nullptr ? *found : nothing, "patch_size", settings.patch, what);
  check_setting(settings, "patch_size", settings.patch, 1, settings.tile);
  settings.tile_tokens = settings.tile / settings.patch;
  const int64_t tokens = settings.tile_tokens * settings.tile_tokens;
  const int64_t said = json_integer_or(files.processor, "num_image_tokens", tokens, what);
  if (said != tokens) {
    throw InputError("{}: \"num_image_tokens\": expected {} a tile, as size and patches give, found {}", what,
                     tokens, said);
  }
  const std::string aspect =
      json_string_or(files.config, "vision_aspect_ratio",
                     json_string_or(files.processor, "vision_aspect_ratio", "anyres_max_9", what), what);
  const char* const end = aspect.data() + aspect.size();
  const bool known = aspect.starts_with(kAspectPrefix);
  const auto [stop, code] =
      std::from_chars(known ? aspect.data() + kAspectPrefix.size() : end, end, settings.most_map_tiles);
  if (code != std::errc() || stop != end) {
    throw UnsupportedModel("{}: \"vision_aspect_ratio\": expected anyres_max_ and a number, found \"{}\"",
                           what, aspect);
  }
  if (!json_bool_or(files.image, "do_pad", true, what)) {
    throw UnsupportedModel("{}: \"do_pad\": expected true: tiles of other sizes have no place in a tower",
                           what);
  }
  settings.words.image = settings.words.placeholder = json_string_or(
      files.processor, "image_token", token_text(files, "image_token", settings.words.image), what);
}

void check(const MediaSettings& settings) {
  check_setting(settings, "size", settings.tile, 1, 8192);
  check_setting(settings, "vision_aspect_ratio", settings.most_map_tiles, 1, 4096);
  check_anyres_options(anyres_options(settings), settings.source);
}

void report(const MediaPlan& plan, const MediaSettings& settings, Json& out) {
  out["resized_hw"] = plan.resized_hw.back();
  if (!plan.anyres) return;
  out["best_hw"] = {plan.tiles_rows_cols[0] * settings.tile, plan.tiles_rows_cols[1] * settings.tile};
  out["tiles_cols_rows"] = {plan.tiles_rows_cols[1], plan.tiles_rows_cols[0]};
  out["H1W1"] = plan.high_hw;
  out["newlines"] = plan.newline_tokens();
}

}  // namespace

}  // namespace onevision_rules

extern const Tiling kOnevisionTiling;
const Tiling kOnevisionTiling = {
    {"llava_onevision"},
    {"llava-onevision"},
    onevision_rules::preset,
    onevision_rules::defaults,
    onevision_rules::read,
    onevision_rules::check,
    onevision_rules::plan_image,
    nullptr,
    nullptr,
    nullptr,
    onevision_rules::cut,
    onevision_rules::report,
    Packing::kPadded,
};

}  // namespace ropescope
