#include "ropescope/vision/preprocess.h"

#include <algorithm>

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/parallel.h"

namespace ropescope {

namespace {

/// [H, W, 3] -> [3, H, W] at `out`.
void split_channels(const at::Tensor& image_HW3, uint8_t* out) {
  const at::Tensor image = image_HW3.contiguous();
  const uint8_t* in = image.const_data_ptr<uint8_t>();
  const int64_t plane = image.size(0) * image.size(1);
  for (int64_t i = 0; i < plane; ++i) {
    for (int64_t c = 0; c < 3; ++c) out[c * plane + i] = in[3 * i + c];
  }
}

/// int(edge * long / short), the division in double.
int64_t long_side(int64_t edge, int64_t longer, int64_t shorter) {
  return static_cast<int64_t>(static_cast<double>(edge * longer) / static_cast<double>(shorter));
}

at::Tensor resize_and_crop(const at::Tensor& image, const PreprocessSettings& settings) {
  const int64_t in_h = image.size(0), in_w = image.size(1);
  int64_t height = settings.resize_height, width = settings.resize_width;
  if (settings.resize == PreprocessSettings::Resize::kShortestEdge) {
    width = in_w <= in_h ? height : long_side(height, in_w, in_h);
    height = in_w <= in_h ? long_side(settings.resize_height, in_h, in_w) : height;
  }
  std::optional<PixelWindow> window;
  if (settings.crop_hw) {
    const auto [crop_h, crop_w] = *settings.crop_hw;
    window = PixelWindow{(width - crop_w) / 2, (height - crop_h) / 2, crop_w, crop_h};
  }
  return resize_image(image, width, height, settings.filter, window);
}

/// The thumbnail, then the tiles of the padded image.
at::Tensor cut_tiles(const at::Tensor& image, const PreprocessSettings& settings,
                     const AnyresGeometry& geometry) {
  const int64_t side = settings.anyres->tile_size;
  const int64_t columns = geometry.tiles_cols_rows[0], rows = geometry.tiles_cols_rows[1];
  const at::Tensor tiles = at::empty({1 + rows * columns, 3, side, side}, at::kByte);
  uint8_t* out = tiles.mutable_data_ptr<uint8_t>();
  split_channels(resize_image(image, side, side, settings.filter), out);
  const at::Tensor grid = at::zeros({geometry.best_wh[1], geometry.best_wh[0], 3}, at::kByte);
  const auto [resized_w, resized_h] = geometry.resized_wh;
  const int64_t left = geometry.pad_ltrb[0], top = geometry.pad_ltrb[1];
  grid.slice(0, top, top + resized_h)
      .slice(1, left, left + resized_w)
      .copy_(resize_image(image, resized_w, resized_h, settings.filter));
  parallel_for_each(rows * columns, [&](int64_t i) {
    const int64_t y = i / columns * side, x = i % columns * side;
    split_channels(grid.slice(0, y, y + side).slice(1, x, x + side), out + (i + 1) * 3 * side * side);
  });
  return tiles;
}

}  // namespace

at::Tensor normalize_tiles(const at::Tensor& tiles, const PreprocessSettings& settings) {
  std::array<std::array<float, 256>, 3> table;
  for (size_t c = 0; c < 3; ++c) {
    const auto mean = static_cast<float>(settings.mean[c]);
    const auto std = static_cast<float>(settings.std[c]);
    for (size_t value = 0; value < 256; ++value) {
      const auto rescaled = static_cast<float>(static_cast<double>(value) * settings.rescale_factor);
      table[c][value] = (rescaled - mean) / std;
    }
  }
  const at::Tensor contiguous = tiles.contiguous();
  at::Tensor values = at::empty(tiles.sizes(), at::kFloat);
  const uint8_t* in = contiguous.const_data_ptr<uint8_t>();
  float* out = values.mutable_data_ptr<float>();
  const int64_t plane = tiles.size(2) * tiles.size(3);
  parallel_for_each(tiles.size(0) * 3, [&](int64_t i) {
    const auto& of_channel = table[static_cast<size_t>(i % 3)];
    for (int64_t k = i * plane; k < (i + 1) * plane; ++k) out[k] = of_channel[in[k]];
  });
  return values;
}

PreprocessedImage preprocess_image(const at::Tensor& image_HW3, const PreprocessSettings& settings) {
  PreprocessedImage result;
  if (settings.anyres) {
    result.geometry = anyres_geometry(image_HW3.size(1), image_HW3.size(0), *settings.anyres);
    result.tiles = cut_tiles(image_HW3, settings, *result.geometry);
  } else {
    const at::Tensor square = resize_and_crop(image_HW3, settings);
    result.tiles = at::empty({1, 3, square.size(0), square.size(1)}, at::kByte);
    split_channels(square, result.tiles.mutable_data_ptr<uint8_t>());
  }
  result.pixel_values = normalize_tiles(result.tiles, settings);
  return result;
}

}  // namespace ropescope
