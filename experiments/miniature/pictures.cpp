#include "pictures.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <numbers>

#include <boost/random/normal_distribution.hpp>
#include <boost/random/uniform_int_distribution.hpp>
#include <boost/random/uniform_real_distribution.hpp>
#include <fmt/format.h>
#include <png.h>

#include <ATen/ops/empty.h>

#include "ropescope/core/errors.h"

namespace ropescope::miniature {

namespace {

// Shades of 0..1. Together they stay inside but for the tails of the noise.
constexpr double kGrey = 0.5, kColourStep = 0.08, kFlicker = 0.27, kGlyph = 0.12, kNoise = 0.05;

// Frequencies of the two cosines, in half waves a patch.
constexpr std::array<std::array<int, 2>, 12> kWaves = {
    {{7, 7}, {7, 6}, {6, 7}, {6, 6}, {7, 5}, {5, 7}, {6, 5}, {5, 6}, {7, 4}, {4, 7}, {6, 4}, {4, 6}}};

/// The cell, of `side` along `pixels`, that a pixel lies in.
int64_t cell_of_pixel(int64_t pixel, int64_t pixels, int64_t side) { return pixel * side / pixels; }

/// The cell that patch `patch` of `patches` lies in, -1 for several.
int64_t cell_of_patch(int64_t patch, int64_t patches, int64_t side) {
  const int64_t first = cell_of_pixel(patch * kPatch, patches * kPatch, side);
  const int64_t last = cell_of_pixel((patch + 1) * kPatch - 1, patches * kPatch, side);
  return first == last ? first : -1;
}

/// Columns and rows, in halves of a tile's side.
using HalfTiles = std::array<int64_t, 2>;

std::vector<Shape> shapes_of(const World& world, const std::vector<HalfTiles>& sizes) {
  std::vector<Shape> shapes;
  for (const auto& [columns, rows] : sizes) {
    const int64_t unit = world.side * world.finer;
    shapes.push_back(shape_of(columns * unit / 2, rows * unit / 2, world));
  }
  return shapes;
}

class Canvas {
 public:
  Canvas(const Picture& picture, Rng& rng)
      : picture_(picture),
        width_(picture.shape.columns * kPatch),
        height_(picture.shape.rows * kPatch),
        values_(static_cast<size_t>(3 * width_ * height_), kGrey) {
    add_flicker(rng);
    add_colours();
    add_glyphs(rng);
    add_noise(rng);
  }

  at::Tensor pixels() const {
    at::Tensor image = at::empty({height_, width_, 3}, at::kByte);
    auto* out = image.mutable_data_ptr<uint8_t>();
    for (size_t i = 0; i < values_.size(); ++i) {
      out[i] = static_cast<uint8_t>(std::lround(255.0 * std::clamp(values_[i], 0.0, 1.0)));
    }
    return image;
  }

 private:
  double& at(int64_t x, int64_t y, int64_t channel) {
    return values_[static_cast<size_t>(3 * (y * width_ + x) + channel)];
  }
  size_t cell_at(int64_t x, int64_t y) const {
    const int64_t side = picture_.shape.side;
    return static_cast<size_t>(cell_of_pixel(y, height_, side) * side + cell_of_pixel(x, width_, side));
  }

  // What of a cell lies in one patch has one shade; cells share none.
  void add_flicker(Rng& rng) {
    const int64_t patches = picture_.shape.columns * picture_.shape.rows, cells = picture_.shape.cells();
    boost::random::uniform_real_distribution<double> shade(-kFlicker, kFlicker);
    for (int64_t channel = 0; channel < 3; ++channel) {
      std::vector<double> shades(static_cast<size_t>(patches * cells));
      for (double& value : shades) value = shade(rng);
      const auto shade_at = [&](int64_t x, int64_t y) {
        const int64_t patch = y / kPatch * picture_.shape.columns + x / kPatch;
        return shades[static_cast<size_t>(patch * cells) + cell_at(x, y)];
      };
      std::vector<double> sum(static_cast<size_t>(cells)), pixels(static_cast<size_t>(cells));
      for (int64_t y = 0; y < height_; ++y) {
        for (int64_t x = 0; x < width_; ++x) {
          sum[cell_at(x, y)] += shade_at(x, y);
          pixels[cell_at(x, y)] += 1;
        }
      }
      for (int64_t y = 0; y < height_; ++y) {
        for (int64_t x = 0; x < width_; ++x) {
          at(x, y, channel) += shade_at(x, y) - sum[cell_at(x, y)] / pixels[cell_at(x, y)];
        }
      }
    }
  }

  void add_colours() {
    for (int64_t y = 0; y < height_; ++y) {
      for (int64_t x = 0; x < width_; ++x) {
        const std::array<double, 3> steps =
            colour_steps(picture_.colours[cell_at(x, y)], picture_.shape.cells());
        for (size_t channel = 0; channel < 3; ++channel) {
          at(x, y, static_cast<int64_t>(channel)) += kColourStep * steps[channel];
        }
      }
    }
  }

  void add_glyphs(Rng& rng) {
    boost::random::uniform_int_distribution<int> coin(0, 1);
    const std::vector<int64_t> cells = cells_of_tokens(picture_.shape);
    for (size_t token = 0; token < cells.size(); ++token) {
      const double sign = coin(rng) == 0 ? -kGlyph : kGlyph;
      if (cells[token] < 0) continue;
      const at::Tensor pattern = glyph_pattern(picture_.glyphs[static_cast<size_t>(cells[token])]);
      const float* shade = pattern.const_data_ptr<float>();
      const auto index = static_cast<int64_t>(token);
      const int64_t left = index % picture_.shape.columns * kPatch,
                    top = index / picture_.shape.columns * kPatch;
      for (int64_t i = 0; i < kPatch * kPatch; ++i) {
        for (int64_t channel = 0; channel < 3; ++channel) {
          at(left + i % kPatch, top + i / kPatch, channel) += sign * shade[i];
        }
      }
    }
  }

  void add_noise(Rng& rng) {
    boost::random::normal_distribution<double> noise(0.0, kNoise);
    for (double& value : values_) value += noise(rng);
  }

  const Picture& picture_;
  int64_t width_, height_;
  std::vector<double> values_;  // [height, width, 3]
};

}  // namespace

std::string Shape::name() const { return fmt::format("{}x{}", columns, rows); }

Shape shape_of(int64_t columns, int64_t rows, const World& world) {
  return {columns, rows, world.side, world.finer, world.thumbnail_split()};
}

std::vector<Shape> seen_shapes(const World& world) {
  const bool whole_tiles = world.order == Order::kInternvl;
  return shapes_of(world, whole_tiles ? std::vector<HalfTiles>{{4, 4}, {6, 2}, {2, 6}, {6, 4}}
                                      : std::vector<HalfTiles>{{4, 4}, {3, 4}, {6, 2}, {2, 6}});
}

std::vector<Shape> unseen_shapes(const World& world) {
  const bool whole_tiles = world.order == Order::kInternvl;
  return shapes_of(world, whole_tiles ? std::vector<HalfTiles>{{4, 2}, {2, 4}, {4, 6}}
                                      : std::vector<HalfTiles>{{4, 3}, {5, 2}, {2, 5}});
}

AnyresOptions anyres_options(const World& world) {
  const int64_t tile = world.tile(), unit = world.finer * tile;
  AnyresOptions options;
  options.pinpoints = {{2 * unit, 2 * unit}, {3 * unit, unit}, {unit, 3 * unit}};
  options.tile_size = tile;
  options.patch_size = kPatch;
  return options;
}

AnyresGeometry geometry_of(const Shape& shape) {
  World world;
  world.side = shape.side;
  world.finer = shape.finer;
  AnyresGeometry geometry =
      anyres_geometry(shape.columns * kPatch, shape.rows * kPatch, anyres_options(world));
  if (geometry.feat_H1W1 != std::array<int64_t, 2>{shape.rows, shape.columns}) {
    throw InternalError("miniature: a picture of {} patches became {} rows and {} columns", shape.name(),
                        geometry.feat_H1W1[0], geometry.feat_H1W1[1]);
  }
  return geometry;
}

std::vector<int64_t> cells_of_tokens(const Shape& shape) {
  std::vector<int64_t> cells;
  for (int64_t row = 0; row < shape.rows; ++row) {
    for (int64_t column = 0; column < shape.columns; ++column) {
      const int64_t y = cell_of_patch(row, shape.rows, shape.side),
                    x = cell_of_patch(column, shape.columns, shape.side);
      cells.push_back(y < 0 || x < 0 ? -1 : y * shape.side + x);
    }
  }
  return cells;
}

std::vector<int64_t> cells_of_thumbnail(const Shape& shape) {
  std::vector<int64_t> cells;
  for (int64_t row = 0; row < shape.thumbnail_side(); ++row) {
    for (int64_t column = 0; column < shape.thumbnail_side(); ++column) {
      cells.push_back(row / shape.split * shape.side + column / shape.split);
    }
  }
  return cells;
}

Picture random_picture(const Shape& shape, Rng& rng, const World& world) {
  Picture picture;
  picture.shape = shape;
  const auto cells = static_cast<size_t>(world.cells());
  picture.colours.resize(cells);
  picture.glyphs.resize(cells);
  for (size_t i = 0; i < cells; ++i) picture.colours[i] = static_cast<int64_t>(i);
  for (size_t i = cells - 1; i > 0; --i) {
    boost::random::uniform_int_distribution<size_t> place(0, i);
    std::swap(picture.colours[i], picture.colours[place(rng)]);
  }
  const bool marked = world.task == Task::kRelation;
  boost::random::uniform_int_distribution<int64_t> glyph(0, world.glyphs - (marked ? 2 : 1));
  for (int64_t& value : picture.glyphs) value = glyph(rng);
  if (marked) {
    boost::random::uniform_int_distribution<size_t> cell(0, cells - 1);
    picture.glyphs[cell(rng)] = world.glyphs - 1;
  }
  return picture;
}

at::Tensor draw_picture(const Picture& picture, Rng& rng) { return Canvas(picture, rng).pixels(); }

at::Tensor glyph_pattern(int64_t glyph) {
  const auto& waves = kWaves.at(static_cast<size_t>(glyph));
  at::Tensor pattern = at::empty({kPatch, kPatch}, at::kFloat);
  auto* out = pattern.mutable_data_ptr<float>();
  const auto wave = [](int half_waves, int64_t pixel) {
    return std::cos(std::numbers::pi * half_waves * (static_cast<double>(pixel) + 0.5) / kPatch);
  };
  double highest = 0;
  for (int64_t i = 0; i < kPatch * kPatch; ++i) {
    const double value = wave(waves[0], i % kPatch) * wave(waves[1], i / kPatch);
    out[i] = static_cast<float>(value);
    highest = std::max(highest, std::abs(value));
  }
  return pattern.div_(highest);
}

std::array<double, 3> colour_steps(int64_t colour, int64_t colours) {
  if (colours > kColours) {
    const auto level = [&](int64_t base) { return static_cast<double>(colour / base % 4) - 1.5; };
    return {level(1), level(4), level(16)};
  }
  // At most one channel without a step; two colours differ by at least one step in one channel.
  static constexpr std::array<std::array<double, 3>, kColours> kSteps = {{{1, -1, -1},
                                                                          {-1, 1, -1},
                                                                          {-1, -1, 1},
                                                                          {1, 1, -1},
                                                                          {1, -1, 1},
                                                                          {-1, 1, 1},
                                                                          {1, 1, 1},
                                                                          {-1, -1, -1},
                                                                          {1, 0, -1},
                                                                          {0, 1, -1},
                                                                          {-1, 1, 0},
                                                                          {-1, 0, 1},
                                                                          {0, -1, 1},
                                                                          {1, -1, 0},
                                                                          {0, 1, 1},
                                                                          {1, 0, 1}}};
  return kSteps.at(static_cast<size_t>(colour));
}

void write_png(const std::filesystem::path& file, const at::Tensor& rgb_HW3) {
  png_image image = {};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(rgb_HW3.size(1));
  image.height = static_cast<png_uint_32>(rgb_HW3.size(0));
  image.format = PNG_FORMAT_RGB;
  const at::Tensor pixels = rgb_HW3.contiguous();
  if (png_image_write_to_file(&image, file.c_str(), 0, pixels.const_data_ptr<uint8_t>(), 0, nullptr) == 0) {
    throw EnvironmentError("{}: cannot be written ({})", file.string(), image.message);
  }
}

}  // namespace ropescope::miniature
