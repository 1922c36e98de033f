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
#include "flexible_patch.h"

namespace ropescope::miniature {

namespace {

constexpr int64_t kMostTiles = 6;  // of InternVL's order: 3x2 are trained on, 2x3 only asked about

MediaProcessor processor_of(const World& world, int64_t patch = kPatch) {
  const bool native = world.order == Order::kNative;
  const int64_t tile = world.tile(), finer = world.finer * world.finer;
  MediaSettings settings = media_preset(native ? "qwen2-vl" : "internvl");
  settings.patch = patch;
  settings.merge = 1;
  settings.temporal_patch = 1;
  if (native) {
    settings.min_pixels = tile * tile;
    settings.max_pixels = 16 * finer * tile * tile;
  } else {
    settings.tile = tile;
    settings.tile_tokens = world.side;
    settings.max_tiles = kMostTiles * finer;
  }
  return MediaProcessor(settings);
}

[[noreturn]] void refuse(const Shape& shape, Order order) {
  throw InternalError("miniature: a picture of {} patches does not fit the order {}", shape.name(),
                      order_name(order));
}

/// The mean of each cell over `pixels` x `pixels`: a quarter of a squeezed cell would show the shade of its few high-resolution patches.
at::Tensor mosaic(const at::Tensor& rgb_HW3, int64_t side, int64_t pixels) {
  const at::Tensor cells = rgb_HW3.to(at::kFloat)
                               .view({side, rgb_HW3.size(0) / side, side, rgb_HW3.size(1) / side, 3})
                               .mean({1, 3});
  return cells.round().to(at::kByte).repeat_interleave(pixels, 0).repeat_interleave(pixels, 1);
}

World world_of(const Shape& shape, Order order) {
  World world = order;
  world.side = shape.side;
  world.finer = shape.finer;
  return world;
}

View tiled_view(const Shape& shape) {
  const AnyresGeometry geometry = geometry_of(shape);
  View view;
  view.block = image_segment(geometry);
  view.sources = token_sources(geometry);
  for (size_t i = 0; i < view.sources.size(); ++i) {
    const auto token = static_cast<int64_t>(i);
    if (token < shape.cells()) {
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
      processor_of(world_of(shape, Order::kInternvl)).plan_image(shape.columns * kPatch, shape.rows * kPatch);
  if (plan.high_hw != std::array<int64_t, 2>{shape.rows, shape.columns}) refuse(shape, Order::kInternvl);
  TiledPicture tiling;
  const int64_t side = shape.side;
  tiling.thumbnail = {1, side, side};
  tiling.rows = plan.tiles_rows_cols[0];
  tiling.columns = plan.tiles_rows_cols[1];
  view.block = tiled_segment(tiling);
  view.thumbnail_first = false;
  const BlockTokens tokens(view.block);
  view.sources.resize(static_cast<size_t>(view.block.tokens()));
  for (int64_t cell = 0; cell < shape.cells(); ++cell) {
    view.thumbnail.push_back(tokens.thumbnail(cell));
    view.sources[static_cast<size_t>(view.thumbnail.back())] = cell;
  }
  for (int64_t row = 0; row < shape.rows; ++row) {
    for (int64_t column = 0; column < shape.columns; ++column) {
      const int64_t tile = 1 + row / side * (shape.columns / side) + column / side;
      view.high.push_back(tokens.high(row, column));
      view.sources[static_cast<size_t>(view.high.back())] =
          tile * shape.cells() + row % side * side + column % side;
    }
  }
  return view;
}

View native_view(const Shape& shape) {
  View view;
  view.block.kind = Segment::Kind::kAnyres;
  view.block.grid = {1, shape.thumbnail_side(), shape.thumbnail_side()};
  view.block.high_h = shape.rows;
  view.block.high_w = shape.columns;
  view.block.newline = false;
  for (int64_t token = 0; token < view.block.tokens(); ++token) {
    view.sources.push_back(token);
    (token < shape.thumbnail_patches() ? view.thumbnail : view.high).push_back(token);
  }
  return view;
}

}  // namespace

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

Layout layout_of(const View& view, int64_t text) {
  Layout layout;
  layout.segments.resize(3);
  layout.segments[0].text = 1;
  layout.segments[1] = view.block;
  layout.segments[2].text = text;
  return layout;
}

Cutter::Cutter(const World& world, const PreprocessSettings& settings) : world_(world), settings_(settings) {
  if (world.order != Order::kLlavaNext) processor_.emplace(processor_of(world));
  if (world.order == Order::kNative) {
    thumbnail_processor_.emplace(processor_of(world, world.thumbnail_patch));
  }
}

at::Tensor Cutter::thumbnail_patches(const at::Tensor& rgb_HW3) const {
  const ResampleFilter filter = processor_->settings().filter;
  at::Tensor thumbnail;
  if (world_.thumbnail_split() > 1) {
    thumbnail = mosaic(rgb_HW3, world_.side, kPatch);
  } else {
    thumbnail = resize_image(rgb_HW3, world_.tile(), world_.tile(), filter);
    const int64_t larger = world_.thumbnail_patch * world_.side;
    if (larger != world_.tile()) thumbnail = resize_image(thumbnail, larger, larger, filter);
  }
  return patches_at_size(thumbnail_processor_->image(thumbnail).pixel_values, 3, kPatch);
}

at::Tensor Cutter::cut(const at::Tensor& rgb_HW3, const Shape& shape, const std::string& file) const {
  const auto refuse_picture = [&] {
    throw InputError("{}: expected a picture that comes to {} patches", file, shape.name());
  };
  if (world_.order == Order::kLlavaNext) {
    const PreprocessedImage image = preprocess_image(rgb_HW3, settings_);
    if (!image.geometry || image.geometry->feat_H1W1 != std::array<int64_t, 2>{shape.rows, shape.columns}) {
      refuse_picture();
    }
    return image.pixel_values;
  }
  const MediaItem item = processor_->image(rgb_HW3);
  if (world_.order == Order::kInternvl) {
    if (item.plan.high_hw != std::array<int64_t, 2>{shape.rows, shape.columns}) refuse_picture();
    const int64_t tiles = item.pixel_values.size(0) - 1;
    return at::cat({item.pixel_values.narrow(0, tiles, 1), item.pixel_values.narrow(0, 0, tiles)});
  }
  if (item.plan.grid_thw != std::array<int64_t, 3>{1, shape.rows, shape.columns}) refuse_picture();
  return at::cat({thumbnail_patches(rgb_HW3), item.pixel_values});
}

}  // namespace ropescope::miniature
