// LLaVA 1.5: the shorter side is brought to one length and the centre is cut out; or, as the original code does it, the
// picture is laid on a square of the mean colour first.
#include <algorithm>
#include <array>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/core/errors.h"
#include "ropescope/vision/tilings/tiling.h"

namespace ropescope {

namespace llava_rules {

namespace {

using namespace tiling_parts;

MediaPlan plan_image(int64_t width, int64_t height, bool /*one_of_several*/, const MediaSettings& settings) {
  const int64_t side = settings.tile_tokens, edge = settings.shortest_edge, crop = settings.tile;
  MediaPlan plan;
  plan.size_wh = {width, height};
  plan.square = settings.pad_to_square;
  const int64_t w = plan.square ? std::max(width, height) : width;
  const int64_t h = plan.square ? std::max(width, height) : height;
  const auto longer = [edge](int64_t longest, int64_t shortest) {
    return truncated(static_cast<double>(edge) * static_cast<double>(longest) /
                     static_cast<double>(shortest));
  };
  const int64_t new_h = w <= h ? longer(h, w) : edge, new_w = w <= h ? edge : longer(w, h);
  plan.resized_hw = {{new_h, new_w}};
  plan.crop_top_left = {(new_h - crop) / 2, (new_w - crop) / 2};
  plan.tiles = 1;
  plan.placeholder = settings.words.placeholder;
  plan.runs = {grid_run(MediaRun::Role::kWhole, side, side)};
  const double scale_w = static_cast<double>(w) / static_cast<double>(new_w);
  const double scale_h = static_cast<double>(h) / static_cast<double>(new_h);
  const double cell = static_cast<double>(settings.patch);
  plan.cells = {static_cast<double>(plan.crop_top_left[1]) * scale_w - static_cast<double>((w - width) / 2),
                static_cast<double>(plan.crop_top_left[0]) * scale_h - static_cast<double>((h - height) / 2),
                cell * scale_w, cell * scale_h};
  return plan;
}

at::Tensor cut(const std::vector<at::Tensor>& frames, const MediaPlan& plan, const MediaSettings& settings) {
  const at::Tensor picture = plan.square ? padded_to_square(frames[0], settings.mean) : frames[0];
  const auto [height, width] = plan.resized_hw.back();
  const PixelWindow window{plan.crop_top_left[1], plan.crop_top_left[0], settings.tile, settings.tile};
  return planes(resize_image(picture, width, height, settings.filter, window));
}

MediaSettings defaults(const std::string& family) {
  MediaSettings settings;
  settings.family = family;
  settings.mean = kClipMeans;
  settings.std = kClipStds;
  settings.words.image = settings.words.placeholder = "<image>";
  settings.merge = 1;
  settings.tile = settings.shortest_edge = 224;
  settings.tile_tokens = 16;
  return settings;
}

MediaSettings preset(const std::string& /*name*/) {
  MediaSettings settings = defaults("llava");
  settings.tile = settings.shortest_edge = 336;
  settings.tile_tokens = 24;
  return settings;
}

void read(const ProcessorFiles& files, MediaSettings& settings) {
  static const Json nothing = Json::object();
  const std::string& what = files.what;
  if (const int64_t edge = edge_of(files.image, "size", "shortest_edge", what)) settings.shortest_edge = edge;
  const int64_t crop = square_size(files.image, "crop_size", what);
  if (!json_bool_or(files.image, "do_center_crop", true, what)) {
    throw UnsupportedModel("{}: \"do_center_crop\": expected true: the tower takes one size only", what);
  }
  settings.tile = crop != 0 ? crop : settings.shortest_edge;
  settings.pad_to_square = json_bool_or(files.image, "do_pad", false, what);
  const Json* found = json_find(files.config, "vision_config");
  const Json& tower = found != nullptr ? *found : nothing;
  settings.patch =
      side_or(tower, "patch_size", json_integer_or(files.processor, "patch_size", 14, what), what);
  check_setting(settings, "patch_size", settings.patch, 1, 8192);
  settings.tile_tokens = settings.tile / settings.patch;
  const std::string strategy = json_string_or(
      files.config, "vision_feature_select_strategy",
      json_string_or(files.processor, "vision_feature_select_strategy", "default", what), what);
  if (strategy != "default") {
    throw UnsupportedModel("{}: \"vision_feature_select_strategy\": expected default, found \"{}\"", what,
                           strategy);
  }
  settings.words.image = settings.words.placeholder = json_string_or(
      files.processor, "image_token", token_text(files, "image_token", settings.words.image), what);
}

void check(const MediaSettings& settings) {
  check_setting(settings, "size.shortest_edge", settings.shortest_edge, 1, 8192);
  check_setting(settings, "crop_size", settings.tile, 1, settings.shortest_edge);
  check_setting(settings, "tokens along a side", settings.tile_tokens, 1, settings.tile);
}

void report(const MediaPlan& plan, const MediaSettings& /*settings*/, Json& out) {
  out["resized_hw"] = plan.resized_hw.back();
  out["crop_top_left"] = plan.crop_top_left;
}

}  // namespace

}  // namespace llava_rules

extern const Tiling kLlavaTiling;
const Tiling kLlavaTiling = {
    {"llava"},
    {"llava"},
    llava_rules::preset,
    llava_rules::defaults,
    llava_rules::read,
    llava_rules::check,
    llava_rules::plan_image,
    nullptr,
    nullptr,
    nullptr,
    llava_rules::cut,
    llava_rules::report,
    Packing::kSquares,
};

}  // namespace ropescope
