// Pictures of the miniature: a raster of cells, each with a colour and a glyph, of which a thumbnail shows
// the colours only and the high-resolution tiles the glyphs only.
//   pixel = grey + colour(cell) + flicker(cell, patch) + sign(patch) glyph(cell) + noise
//   colour   a step up, down or none in red, green and blue
//   flicker  one random shade for every patch in a cell, their mean over the cell taken away: a thumbnail,
//            whose patch is the whole cell, averages it out; one tile's patch can hardly tell it from colour
//   glyph    a product of two of the finest cosines of a patch: finer than a thumbnail resolves in at least
//            one direction; of random sign, so that patches do not add up
// A patch of the picture is a patch of the vision tower: pictures have the size that anyres gives them.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/core/random.h"
#include "ropescope/vision/anyres.h"
#include "ropescope/vision/preprocess.h"

#include "world.h"

namespace ropescope::miniature {

// The plain world's (world.h).
inline constexpr int64_t kSide = 4;               ///< cells, and thumbnail patches, a side
inline constexpr int64_t kTile = kPatch * kSide;  ///< pixels
inline constexpr int64_t kCells = kSide * kSide;
inline constexpr int64_t kColours = 16, kGlyphs = 4;

/// High-resolution patches that a picture has, and the raster that they show.
struct Shape {
  int64_t columns = 0, rows = 0;
  int64_t side = kSide;  ///< cells
  int64_t finer = 1;     ///< as the world says
  int64_t split = 1;     ///< thumbnail patches a cell's side
  int64_t cells() const { return side * side; }
  int64_t thumbnail_side() const { return side * split; }  ///< patches
  int64_t thumbnail_patches() const { return thumbnail_side() * thumbnail_side(); }
  std::string name() const;  ///< "12x4"
};

/// Shapes of the pictures that are trained on, and those that are only asked about. InternVL's are whole tiles.
std::vector<Shape> seen_shapes(const World& world = {});
std::vector<Shape> unseen_shapes(const World& world = {});

/// Columns and rows of patches, in a world.
Shape shape_of(int64_t columns, int64_t rows, const World& world);

/// The tiny model's tiles: 2x2, 3x1 and 1x3; in a finer world 4x4, 6x2 and 2x6.
AnyresOptions anyres_options(const World& world = {});
AnyresGeometry geometry_of(const Shape& shape);

/// Which cell each high-resolution token (row by row, newlines left out) lies in with all its pixels; -1
/// where it lies in several.
std::vector<int64_t> cells_of_tokens(const Shape& shape);

/// The cell of each thumbnail patch, row by row.
std::vector<int64_t> cells_of_thumbnail(const Shape& shape);

struct Picture {
  Shape shape;
  std::vector<int64_t> colours, glyphs;  ///< of each cell, row by row; no colour comes twice
};

/// Colours and glyphs by chance. Where the task is the relation, one cell has the last glyph.
Picture random_picture(const Shape& shape, Rng& rng, const World& world = {});

/// uint8 [H, W, 3].
at::Tensor draw_picture(const Picture& picture, Rng& rng);

/// The pattern of a glyph, [kPatch, kPatch] float32, its highest value 1.
at::Tensor glyph_pattern(int64_t glyph);

/// Steps of a colour in red, green, blue: -1, 0 or 1; of more than sixteen colours -1.5, -0.5, 0.5 or 1.5.
std::array<double, 3> colour_steps(int64_t colour, int64_t colours = kColours);

/// Throws EnvironmentError if the file cannot be written.
void write_png(const std::filesystem::path& file, const at::Tensor& rgb_HW3);

}  // namespace ropescope::miniature
