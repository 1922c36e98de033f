// The miniature's pictures: attributes are where the labels say, and each is seen where it should be only.
#include "miniature/pictures.h"

#include <cmath>
#include <set>

#include <gtest/gtest.h>

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/tensor_operators.h"
#include "ropescope/vision/image.h"

#include "miniature/album.h"
#include "miniature/model.h"
#include "tests/support/golden.h"

namespace ropescope::miniature {
namespace {

std::vector<Shape> all_shapes() {
  std::vector<Shape> shapes = seen_shapes();
  for (const Shape& shape : unseen_shapes()) shapes.push_back(shape);
  return shapes;
}

/// What a tower with tiles of 32 pixels is given, without its normalisation.
PreprocessSettings plain_settings() {
  PreprocessSettings settings = preset_settings("llava-next-clip");
  settings.anyres = anyres_options();
  settings.resize_height = settings.resize_width = kTile;
  settings.crop_hw = std::array<int64_t, 2>{kTile, kTile};
  settings.mean = {0, 0, 0};
  settings.std = {1, 1, 1};
  return settings;
}

/// Patches of thumbnails and of tiles, each in one cell, with what that cell has.
struct Patches {
  std::vector<at::Tensor> pixels;  // [3, kPatch, kPatch]
  std::vector<int64_t> colours, glyphs;
};
struct BothKinds {
  Patches thumbnail, tile;
};

BothKinds cut_patches(int64_t pictures) {
  BothKinds both;
  for (const Shape& shape : all_shapes()) {
    const std::vector<int64_t> sources = token_sources(geometry_of(shape)), cells = cells_of_tokens(shape);
    for (int64_t i = 0; i < pictures; ++i) {
      Rng rng = make_rng(7, {static_cast<uint64_t>(i)});
      const Picture picture = random_picture(shape, rng);
      const PreprocessedImage image = preprocess_image(draw_picture(picture, rng), plain_settings());
      const auto keep = [&](Patches& kind, int64_t source, int64_t cell) {
        const int64_t patch = source % kCells, top = patch / kSide * kPatch, left = patch % kSide * kPatch;
        const at::Tensor tile = image.pixel_values[source / kCells];
        kind.pixels.push_back(tile.narrow(1, top, kPatch).narrow(2, left, kPatch));
        kind.colours.push_back(picture.colours[static_cast<size_t>(cell)]);
        kind.glyphs.push_back(picture.glyphs[static_cast<size_t>(cell)]);
      };
      for (int64_t cell = 0; cell < kCells; ++cell) keep(both.thumbnail, cell, cell);
      size_t token = 0;
      for (size_t t = kCells; t < sources.size(); ++t) {
        if (sources[t] < 0) continue;
        if (const int64_t cell = cells[token++]; cell >= 0) keep(both.tile, sources[t], cell);
      }
    }
  }
  return both;
}

/// Share of the second half whose nearest class mean, of classes' means over the first half, is the right
/// one. Every feature [N, F] counts by its own spread.
double nearest_mean(const at::Tensor& features, const std::vector<int64_t>& labels, int64_t classes) {
  const at::Tensor y = at::tensor(labels, at::kLong);
  // Neighbours in the list come from one picture: halves by turns of pictures would be the same to a class
  // mean.
  const int64_t half = features.size(0) / 2;
  const at::Tensor scaled = features / features.std(0, true);
  std::vector<at::Tensor> means;
  for (int64_t c = 0; c < classes; ++c) {
    const at::Tensor of_class = y.narrow(0, 0, half).eq(c).nonzero().flatten();
    means.push_back(scaled.narrow(0, 0, half).index_select(0, of_class).mean(0));
  }
  const at::Tensor rest = scaled.narrow(0, half, features.size(0) - half).unsqueeze(1);
  const at::Tensor guess = (rest - at::stack(means)).square().sum(2).argmin(1);
  return guess.eq(y.narrow(0, half, y.size(0) - half)).to(at::kDouble).mean().item<double>();
}

/// Energy of every product of two cosines in the grey of a patch, [N, 64]: blind to the sign of a glyph.
at::Tensor energies(const Patches& patches) {
  at::Tensor waves = at::empty({kPatch, kPatch});
  for (int64_t k = 0; k < kPatch; ++k) {
    for (int64_t x = 0; x < kPatch; ++x) {
      waves[k][x] = std::cos(M_PI * static_cast<double>(k) * (static_cast<double>(x) + 0.5) / kPatch);
    }
  }
  const at::Tensor grey = at::stack(patches.pixels).mean(1);
  return waves.matmul(grey).matmul(waves.t()).square().flatten(1);
}

at::Tensor mean_colours(const Patches& patches) { return at::stack(patches.pixels).mean({2, 3}); }

TEST(Pictures, EveryShapeComesToItsPatches) {
  std::set<std::string> names;
  for (const Shape& shape : all_shapes()) {
    EXPECT_TRUE(names.insert(shape.name()).second) << shape.name();
    EXPECT_EQ(geometry_of(shape).tokens, kCells + shape.rows * (shape.columns + 1)) << shape.name();
    const std::vector<int64_t> cells = cells_of_tokens(shape);
    // A cell without a patch of its own could not show its glyph.
    EXPECT_EQ(std::set<int64_t>(cells.begin(), cells.end()).size() -
                  (std::count(cells.begin(), cells.end(), -1) > 0),
              static_cast<size_t>(kCells))
        << shape.name();
  }
}

TEST(Pictures, ColoursAreTheMeansOfTheirCellsAndNoneComesTwice) {
  for (const Shape& shape : all_shapes()) {
    Rng rng = make_rng(3, {1});
    const Picture picture = random_picture(shape, rng);
    EXPECT_EQ(std::set<int64_t>(picture.colours.begin(), picture.colours.end()).size(),
              static_cast<size_t>(kCells));
    const at::Tensor pixels = draw_picture(picture, rng).to(at::kFloat) / 255.0;
    for (int64_t cell = 0; cell < kCells; ++cell) {
      const int64_t height = shape.rows * kPatch / kSide, width = shape.columns * kPatch / kSide;
      const at::Tensor mean =
          pixels.narrow(0, cell / kSide * height, height).narrow(1, cell % kSide * width, width).mean({0, 1});
      const std::array<double, 3> steps = colour_steps(picture.colours[static_cast<size_t>(cell)]);
      for (size_t channel = 0; channel < 3; ++channel) {
        const double shade = mean[static_cast<int64_t>(channel)].item<double>() - 0.5;
        EXPECT_NEAR(shade, 0.08 * steps[channel], 0.02) << shape.name() << " cell " << cell;
      }
    }
  }
}

TEST(Pictures, GlyphsAreInTheTilesAndNotInTheThumbnail) {
  const BothKinds both = cut_patches(24);
  EXPECT_GT(nearest_mean(energies(both.tile), both.tile.glyphs, kGlyphs), 0.95);
  // 2688 patches, half of them asked: three standard deviations above chance are 0.285.
  EXPECT_LT(nearest_mean(energies(both.thumbnail), both.thumbnail.glyphs, kGlyphs), 0.3);
}

TEST(Pictures, ColoursAreInTheThumbnailAndHardlyInOneTilePatch) {
  const BothKinds both = cut_patches(24);
  EXPECT_GT(nearest_mean(mean_colours(both.thumbnail), both.thumbnail.colours, kColours), 0.95);
  EXPECT_LT(nearest_mean(mean_colours(both.tile), both.tile.colours, kColours), 0.35);
}

TEST(Pictures, DependOnSeedAndPlaceOnly) {
  const testing::TemporaryFolder folder;
  const auto pixels = [&](const std::string& name, int64_t index) {
    return read_image(folder.path(name) + "/0000" + std::to_string(index) + ".png").rgb_HW3;
  };
  draw_album(folder.path("a"), "train", 6, seen_shapes(), 5);
  draw_album(folder.path("b"), "train", 8, seen_shapes(), 5);
  draw_album(folder.path("c"), "train", 6, seen_shapes(), 6);
  for (int64_t i = 0; i < 6; ++i) {
    EXPECT_TRUE(at::equal(pixels("a", i), pixels("b", i))) << i;
    EXPECT_FALSE(at::equal(pixels("a", i), pixels("c", i))) << i;
  }
}

TEST(Pictures, FilesHoldWhatWasDrawn) {
  const testing::TemporaryFolder folder;
  Rng rng = make_rng(1, {2});
  const at::Tensor drawn = draw_picture(random_picture({12, 4}, rng), rng);
  write_png(folder.path("p.png"), drawn);
  EXPECT_TRUE(at::equal(read_image(folder.path("p.png")).rgb_HW3, drawn));
}

// The decoder gets, from features kept per picture, exactly what the library's own path gives it.
TEST(Album, FeaturesBecomeTheEmbeddingsOfTheLibrary) {
  const testing::TemporaryFolder folder;
  Llava llava = fresh_model({}, 1e4, 9);
  save_model(llava, folder.path("model"));
  const PreprocessSettings settings = read_preprocess_settings(folder.path("model"));
  const std::vector<Shape> shapes = all_shapes();
  draw_album(folder.path("pictures"), "some", static_cast<int64_t>(shapes.size()), shapes, 1);
  Album album = open_album(folder.path("pictures"), Cutter(Order::kLlavaNext, settings));
  std::map<std::string, at::Tensor> tiles;
  for (const Group& group : album.groups) tiles[group.shape.name()] = group.tiles[0];
  look_at(album, llava);
  for (const Group& group : album.groups) {
    const AnyresGeometry geometry = geometry_of(group.shape);
    const at::Tensor expected = image_embeddings(llava, {tiles[group.shape.name()], geometry});
    at::Tensor found = project(llava, group.features[0]).clone();
    const std::vector<int64_t> sources = token_sources(geometry);
    for (size_t i = 0; i < sources.size(); ++i) {
      if (sources[i] < 0) found[static_cast<int64_t>(i)].copy_(llava.image_newline);
    }
    EXPECT_TRUE(testing::all_close(found, expected, 1e-5)) << group.shape.name();
  }
}

}  // namespace
}  // namespace ropescope::miniature
