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
constexpr std::array<std::array<int, 2>, kGlyphs> kWaves = {{{7, 7}, {7, 6}, {6, 7}, {6, 6}}};

/// Pixels [begin, end) of cell `index` along a side of `pixels`, as shares of pixels where cells end inside
/// one.
int64_t cell_of_pixel(int64_t pixel, int64_t pixels) { return pixel * kSide / pixels; }

/// The cell that patch `patch` of `patches` lies in, -1 for several.
int64_t cell_of_patch(int64_t patch, int64_t patches) {
  const int64_t first = cell_of_pixel(patch * kPatch, patches * kPatch);
  const int64_t last = cell_of_pixel((patch + 1) * kPatch - 1, patches * kPatch);
  return first == last ? first : -1;
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
    return static_cast<size_t>(cell_of_pixel(y, height_) * kSide + cell_of_pixel(x, width_));
  }

  // What of a cell lies in one patch has one shade; cells share none.
  void add_flicker(Rng& rng) {
    const int64_t patches = picture_.shape.columns * picture_.shape.rows;
    boost::random::uniform_real_distribution<double> shade(-kFlicker, kFlicker);
    for (int64_t channel = 0; channel < 3; ++channel) {
      std::vector<double> shades(static_cast<size_t>(patches * kCells));
      for (double& value : shades) value = shade(rng);
      const auto shade_at = [&](int64_t x, int64_t y) {
        const int64_t patch = y / kPatch * picture_.shape.columns + x / kPatch;
        return shades[static_cast<size_t>(patch * kCells) + cell_at(x, y)];
      };
      std::array<double, kCells> sum{}, pixels{};
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
        const std::array<int, 3> steps = colour_steps(picture_.colours[cell_at(x, y)]);
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

const std::vector<Shape>& seen_shapes(Order order) {
  static const std::vector<Shape> shapes = {{8, 8}, {6, 8}, {12, 4}, {4, 12}};
  static const std::vector<Shape> whole_tiles = {{8, 8}, {12, 4}, {4, 12}, {12, 8}};
  return order == Order::kInternvl ? whole_tiles : shapes;
}

const std::vector<Shape>& unseen_shapes(Order order) {
  static const std::vector<Shape> shapes = {{8, 6}, {10, 4}, {4, 10}};
  static const std::vector<Shape> whole_tiles = {{8, 4}, {4, 8}, {8, 12}};
  return order == Order::kInternvl ? whole_tiles : shapes;
}

AnyresOptions anyres_options() {
  AnyresOptions options;
  options.pinpoints = {{2 * kTile, 2 * kTile}, {3 * kTile, kTile}, {kTile, 3 * kTile}};
  options.tile_size = kTile;
  options.patch_size = kPatch;
  return options;
}

AnyresGeometry geometry_of(const Shape& shape) {
  AnyresGeometry geometry = anyres_geometry(shape.columns * kPatch, shape.rows * kPatch, anyres_options());
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
      const int64_t y = cell_of_patch(row, shape.rows), x = cell_of_patch(column, shape.columns);
      cells.push_back(y < 0 || x < 0 ? -1 : y * kSide + x);
    }
  }
  return cells;
}

Picture random_picture(const Shape& shape, Rng& rng) {
  Picture picture;
  picture.shape = shape;
  for (size_t i = 0; i < kCells; ++i) picture.colours[i] = static_cast<int64_t>(i);
  for (size_t i = kCells - 1; i > 0; --i) {
    boost::random::uniform_int_distribution<size_t> place(0, i);
    std::swap(picture.colours[i], picture.colours[place(rng)]);
  }
  boost::random::uniform_int_distribution<int64_t> glyph(0, kGlyphs - 1);
  for (int64_t& value : picture.glyphs) value = glyph(rng);
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

std::array<int, 3> colour_steps(int64_t colour) {
  // At most one channel without a step; two colours differ by at least one step in one channel.
  static constexpr std::array<std::array<int, 3>, kColours> kSteps = {{{1, -1, -1},
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
