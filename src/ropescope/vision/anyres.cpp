#include "ropescope/vision/anyres.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

constexpr int64_t kMostPinpoints = 4096;
constexpr int64_t kLargestPinpointPixels = int64_t{1} << 28;

/// The grid that keeps most of the image's pixels; of equal ones the least waste; of those the first.
std::array<int64_t, 2> best_grid(int64_t width, int64_t height, const AnyresOptions& options) {
  const auto w = static_cast<double>(width);
  const auto h = static_cast<double>(height);
  std::array<int64_t, 2> best{};
  int64_t best_kept = -1;
  int64_t best_waste = std::numeric_limits<int64_t>::max();
  for (const auto& pinpoint : options.pinpoints) {
    const bool height_first = options.rule == PinpointRule::kHf;
    const int64_t grid_w = pinpoint[height_first ? 1 : 0];
    const int64_t grid_h = pinpoint[height_first ? 0 : 1];
    const double scale = std::min(static_cast<double>(grid_w) / w, static_cast<double>(grid_h) / h);
    const int64_t scaled = static_cast<int64_t>(w * scale) * static_cast<int64_t>(h * scale);
    const int64_t kept = std::min(scaled, width * height);
    const int64_t waste = grid_w * grid_h - kept;
    if (kept > best_kept || (kept == best_kept && waste < best_waste)) {
      best = {grid_w, grid_h};
      best_kept = kept;
      best_waste = waste;
    }
  }
  return best;
}

/// The image's size inside the grid: one side fills it, the other is rounded up.
std::array<int64_t, 2> size_in_grid(int64_t width, int64_t height, const std::array<int64_t, 2>& grid_wh) {
  const double scale_w = static_cast<double>(grid_wh[0]) / static_cast<double>(width);
  const double scale_h = static_cast<double>(grid_wh[1]) / static_cast<double>(height);
  const auto up = [](int64_t size, double scale, int64_t limit) {
    return std::min(static_cast<int64_t>(std::ceil(static_cast<double>(size) * scale)), limit);
  };
  if (scale_w < scale_h) return {grid_wh[0], up(height, scale_w, grid_wh[1])};
  return {up(width, scale_h, grid_wh[0]), grid_wh[1]};
}

/// int(x) or int(round(x, 7)). fmt rounds a decimal as Python does: exactly, ties to even.
int64_t kept_size(double x, PinpointRule rule) {
  if (rule == PinpointRule::kOriginal) return static_cast<int64_t>(x);
  return static_cast<int64_t>(std::stoll(fmt::format("{:.7f}", x)));
}

struct KeptRange {
  int64_t first = 0;
  int64_t count = 0;
};

/// What is left of `current` when the same amount is cut off both ends to reach `wanted`, or one more.
KeptRange keep_middle(int64_t current, int64_t wanted) {
  const int64_t padding = std::max<int64_t>(current - wanted, 0) / 2;
  return {padding, current - 2 * padding};
}

}  // namespace

PinpointRule parse_pinpoint_rule(const std::string& text) {
  if (text == "hf") return PinpointRule::kHf;
  if (text == "original") return PinpointRule::kOriginal;
  throw UsageError("--pinpoints: expected hf (height, width) or original (width, height), found \"{}\"",
                   text);
}

std::string pinpoint_rule_name(PinpointRule rule) { return rule == PinpointRule::kHf ? "hf" : "original"; }

std::vector<std::array<int64_t, 2>> default_pinpoints(int64_t tile_size) {
  const int64_t s = tile_size;
  return {{s, 2 * s}, {2 * s, s}, {2 * s, 2 * s}, {3 * s, s}, {s, 3 * s}};
}

std::vector<std::array<int64_t, 2>> parse_pinpoints(const Json& list, const std::string& what) {
  if (list.is_string()) {
    // The original code also takes the text of a Python list, with tuples or lists inside.
    std::string text = list.get<std::string>();
    std::replace(text.begin(), text.end(), '(', '[');
    std::replace(text.begin(), text.end(), ')', ']');
    const Json parsed = parse_json(text, what);
    if (parsed.is_string())
      throw InputError("{}: expected a list of [a, b], found a string in a string", what);
    return parse_pinpoints(parsed, what);
  }
  const auto is_size = [](const Json& value) {
    return value.is_number_integer() && value > 0 && value <= std::numeric_limits<int32_t>::max();
  };
  if (!list.is_array() || list.empty() || static_cast<int64_t>(list.size()) > kMostPinpoints) {
    throw InputError("{}: expected a list of 1 to {} sizes [a, b] in pixels", what, kMostPinpoints);
  }
  std::vector<std::array<int64_t, 2>> pinpoints;
  for (const Json& pair : list) {
    if (!pair.is_array() || pair.size() != 2 || !is_size(pair[0]) || !is_size(pair[1])) {
      throw InputError("{}: expected sizes [a, b] in pixels, found {}", what,
                       pair.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 60));
    }
    pinpoints.push_back({pair[0].get<int64_t>(), pair[1].get<int64_t>()});
  }
  return pinpoints;
}

void check_anyres_options(const AnyresOptions& options, const std::string& what) {
  const int64_t tile = options.tile_size;
  if (tile < 1 || options.patch_size < 1 || options.patch_size > tile) {
    throw InputError("{}: expected 1 <= patch size <= tile size, found patch {} and tile {}", what,
                     options.patch_size, tile);
  }
  if (options.pinpoints.empty())
    throw InputError("{}: expected at least one grid pinpoint, found none", what);
  for (const auto& [a, b] : options.pinpoints) {
    if (a < tile || b < tile || a % tile != 0 || b % tile != 0 || a > kLargestPinpointPixels / b) {
      throw InputError(
          "{}: expected grid pinpoints that are multiples of the tile ({} pixels) and at most {} "
          "pixels large, found [{}, {}]",
          what, tile, kLargestPinpointPixels, a, b);
    }
  }
}

AnyresGeometry anyres_geometry(int64_t width, int64_t height, const AnyresOptions& options) {
  constexpr int64_t kLongest = std::numeric_limits<int32_t>::max();
  if (width < 1 || height < 1 || width > kLongest || height > kLongest) {
    throw InputError("image size: expected a width and height in 1..{}, found {}x{}", kLongest, width,
                     height);
  }
  check_anyres_options(options, "anyres");

  AnyresGeometry result;
  result.size_wh = {width, height};
  result.best_wh = best_grid(width, height, options);
  result.tiles_cols_rows = {result.best_wh[0] / options.tile_size, result.best_wh[1] / options.tile_size};
  result.resized_wh = size_in_grid(width, height, result.best_wh);
  const int64_t spare_w = result.best_wh[0] - result.resized_wh[0];
  const int64_t spare_h = result.best_wh[1] - result.resized_wh[1];
  result.pad_ltrb = {spare_w / 2, spare_h / 2, spare_w - spare_w / 2, spare_h - spare_h / 2};

  const int64_t grid = options.tile_size / options.patch_size;
  const int64_t rows = result.tiles_cols_rows[1] * grid;
  const int64_t columns = result.tiles_cols_rows[0] * grid;
  result.thumbnail_HW = {grid, grid};
  result.feat_full_HW = {rows, columns};
  // The order of these operations decides about the last bit, and so about a whole row of tokens.
  const auto w = static_cast<double>(width);
  const auto h = static_cast<double>(height);
  const auto full_w = static_cast<double>(columns);
  const auto full_h = static_cast<double>(rows);
  KeptRange kept_rows{0, rows};
  KeptRange kept_columns{0, columns};
  if (w / h > full_w / full_h) {
    kept_rows = keep_middle(rows, kept_size(h * (full_w / w), options.rule));
  } else {
    kept_columns = keep_middle(columns, kept_size(w * (full_h / h), options.rule));
  }
  result.feat_H1W1 = {kept_rows.count, kept_columns.count};
  if (kept_rows.count > 0 && kept_columns.count > 0) {
    result.feat_offset_rc = std::array<int64_t, 2>{kept_rows.first, kept_columns.first};
  }
  result.newline = options.newline;
  result.tokens =
      grid * grid + kept_rows.count * kept_columns.count + (options.newline ? kept_rows.count : 0);
  return result;
}

Json to_json(const AnyresGeometry& geometry) {
  return {{"size_wh", geometry.size_wh},
          {"best_wh", geometry.best_wh},
          {"tiles_cols_rows", geometry.tiles_cols_rows},
          {"resized_wh", geometry.resized_wh},
          {"pad_ltrb", geometry.pad_ltrb},
          {"feat_full_HW", geometry.feat_full_HW},
          {"feat_H1W1", geometry.feat_H1W1},
          {"feat_offset_rc", geometry.feat_offset_rc ? Json(*geometry.feat_offset_rc) : Json(nullptr)},
          {"tokens", geometry.tokens}};
}

}  // namespace ropescope
