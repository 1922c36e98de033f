#include "views.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <ATen/ops/cat.h>

#include "ropescope/core/errors.h"
#include "ropescope/rope/tiled_block.h"
#include "ropescope/vision/resize.h"

#include "album.h"

namespace ropescope::miniature {

namespace {

constexpr std::array<const char*, 3> kOrderNames = {"llava-next", "internvl", "native"};
constexpr int64_t kMostTiles = 6;  // of InternVL's order: 3x2 are trained on, 2x3 only asked about

MediaProcessor processor_of(Order order) {
  const bool native = order == Order::kNative;
  MediaSettings settings = media_preset(native ? "qwen2-vl" : "internvl");
  settings.patch = kPatch;
  settings.merge = 1;
  settings.temporal_patch = 1;
  if (native) {
    settings.min_pixels = kTile * kTile;
    settings.max_pixels = 16 * kTile * kTile;
  } else {
    settings.tile = kTile;
    settings.tile_tokens = kSide;
    settings.max_tiles = kMostTiles;
  }
  return MediaProcessor(settings);
}

[[noreturn]] void refuse(const Shape& shape, Order order) {
  throw InternalError("miniature: a picture of {} patches does not fit the order {}", shape.name(),
                      order_name(order));
}

View tiled_view(const Shape& shape) {
  const AnyresGeometry geometry = geometry_of(shape);
  View view;
  view.block = image_segment(geometry);
  view.sources = token_sources(geometry);
  for (size_t i = 0; i < view.sources.size(); ++i) {
    const auto token = static_cast<int64_t>(i);
    if (token < kCells) {
      view.thumbnail.push_back(token);
    } else if (view.sources[i] >= 0) {
      view.high.push_back(token);
    }
  }
  return view;
}

View pieced_view(const Shape& shape) {
  View view;
  const MediaPlan plan =
      processor_of(Order::kInternvl).plan_image(shape.columns * kPatch, shape.rows * kPatch);
  if (plan.high_hw != std::array<int64_t, 2>{shape.rows, shape.columns}) refuse(shape, Order::kInternvl);
  TiledPicture tiling;
  tiling.thumbnail = {1, kSide, kSide};
  tiling.rows = plan.tiles_rows_cols[0];
  tiling.columns = plan.tiles_rows_cols[1];
  view.block = tiled_segment(tiling);
  view.thumbnail_first = false;
  const BlockTokens tokens(view.block);
  view.sources.resize(static_cast<size_t>(view.block.tokens()));
  for (int64_t cell = 0; cell < kCells; ++cell) {
    view.thumbnail.push_back(tokens.thumbnail(cell));
    view.sources[static_cast<size_t>(view.thumbnail.back())] = cell;
  }
  for (int64_t row = 0; row < shape.rows; ++row) {
    for (int64_t column = 0; column < shape.columns; ++column) {
      const int64_t tile = 1 + row / kSide * (shape.columns / kSide) + column / kSide;
      view.high.push_back(tokens.high(row, column));
      view.sources[static_cast<size_t>(view.high.back())] =
          tile * kCells + row % kSide * kSide + column % kSide;
    }
  }
  return view;
}

View native_view(const Shape& shape) {
  View view;
  view.block.kind = Segment::Kind::kAnyres;
  view.block.grid = {1, kSide, kSide};
  view.block.high_h = shape.rows;
  view.block.high_w = shape.columns;
  view.block.newline = false;
  for (int64_t token = 0; token < view.block.tokens(); ++token) {
    view.sources.push_back(token);
    (token < kCells ? view.thumbnail : view.high).push_back(token);
  }
  return view;
}

}  // namespace

const char* order_name(Order order) { return kOrderNames.at(static_cast<size_t>(order)); }

Order parse_order(const std::string& name) {
  const auto found = std::find(kOrderNames.begin(), kOrderNames.end(), name);
  if (found == kOrderNames.end()) {
    throw UsageError("--order: expected {}, found \"{}\"", fmt::join(kOrderNames, ", "), name);
  }
  return static_cast<Order>(found - kOrderNames.begin());
}

View view_of(const Shape& shape, Order order) {
  switch (order) {
    case Order::kLlavaNext:
      return tiled_view(shape);
    case Order::kInternvl:
      return pieced_view(shape);
    case Order::kNative:
      return native_view(shape);
  }
  throw InternalError("view_of: no such order");
}

Cutter::Cutter(Order order, const PreprocessSettings& settings) : order_(order), settings_(settings) {
  if (order != Order::kLlavaNext) processor_.emplace(processor_of(order));
}

at::Tensor Cutter::cut(const at::Tensor& rgb_HW3, const Shape& shape, const std::string& file) const {
  const auto refuse_picture = [&] {
    throw InputError("{}: expected a picture that comes to {} patches", file, shape.name());
  };
  if (order_ == Order::kLlavaNext) {
    const PreprocessedImage image = preprocess_image(rgb_HW3, settings_);
    if (!image.geometry || image.geometry->feat_H1W1 != std::array<int64_t, 2>{shape.rows, shape.columns}) {
      refuse_picture();
    }
    return image.pixel_values;
  }
  const MediaItem item = processor_->image(rgb_HW3);
  if (order_ == Order::kInternvl) {
    if (item.plan.high_hw != std::array<int64_t, 2>{shape.rows, shape.columns}) refuse_picture();
    const int64_t tiles = item.pixel_values.size(0) - 1;
    return at::cat({item.pixel_values.narrow(0, tiles, 1), item.pixel_values.narrow(0, 0, tiles)});
  }
  if (item.plan.grid_thw != std::array<int64_t, 3>{1, shape.rows, shape.columns}) refuse_picture();
  const at::Tensor squeezed = resize_image(rgb_HW3, kTile, kTile, processor_->settings().filter);
  return at::cat({processor_->image(squeezed).pixel_values, item.pixel_values});
}

}  // namespace ropescope::miniature
