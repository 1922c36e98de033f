// Patch embeddings resized by pseudo-inverse, and thumbnails whose patches have another size than the picture's.
#include "miniature/flexible_patch.h"

#include <algorithm>

#include <gtest/gtest.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/einsum.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/kron.h>
#include <ATen/ops/linalg_lstsq.h>
#include <ATen/ops/linalg_pinv.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/upsample_bilinear2d.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/rope/scheme.h"
#include "ropescope/vision/media_processor.h"

#include "miniature/album.h"
#include "miniature/lessons.h"
#include "miniature/model.h"
#include "miniature/rooms.h"
#include "tests/support/golden.h"

namespace ropescope::miniature {
namespace {

at::Tensor embedded(const at::Tensor& patches, const at::Tensor& kernel) {
  return at::einsum("nchw,dchw->nd", {patches, kernel});
}

/// FlexiViT's own way, which the miniature goes round: the kernel for patches of another size, [C, channels, p, p] -> [C, channels, P, P].
at::Tensor resized_kernel(const at::Tensor& kernel, int64_t patch) {
  const at::Tensor across = at::linalg_pinv(resize_matrix(kernel.size(-1), patch).t());
  return kernel.size(-1) == patch ? kernel : across.matmul(kernel).matmul(across.t());
}

at::Tensor enlarged(const at::Tensor& patches, int64_t side) {
  return at::upsample_bilinear2d(patches, {side, side}, /*align_corners=*/false);
}

TEST(FlexiblePatch, MatrixIsBilinearInterpolation) {
  for (const auto& [from, to] : {std::pair{8, 16}, {8, 4}, {8, 13}, {5, 8}}) {
    const at::Tensor pixels = at::randn({1, 1, from, from}, at::kDouble);
    const at::Tensor matrix = resize_matrix(from, to);
    EXPECT_TRUE(testing::all_close(matrix.matmul(pixels).matmul(matrix.t()), enlarged(pixels, to), 1e-12))
        << from << " " << to;
  }
}

// FlexiViT's property: the embedding of an enlarged patch under the resized kernel is that of the patch.
TEST(FlexiblePatch, LargerPatchesAreEmbeddedExactlyAlike) {
  const at::Tensor kernel = at::randn({5, 3, 8, 8}, at::kDouble),
                   patches = at::randn({7, 3, 8, 8}, at::kDouble);
  for (const int64_t side : {9, 12, 16, 30}) {
    const at::Tensor found = embedded(enlarged(patches, side), resized_kernel(kernel, side));
    EXPECT_TRUE(testing::all_close(found, embedded(patches, kernel), 1e-9)) << side;
  }
  EXPECT_TRUE(resized_kernel(kernel, 8).equal(kernel));
}

TEST(FlexiblePatch, SmallerPatchesAreAsNearAsLeastSquares) {
  const at::Tensor kernel = at::randn({3, 1, 8, 8}, at::kDouble);
  for (const int64_t side : {4, 6}) {
    const at::Tensor one = resize_matrix(8, side), whole = at::kron(one, one);  // [side^2, 64]
    const at::Tensor best =
        std::get<0>(at::linalg_lstsq(whole.t(), kernel.view({3, 64}).t())).t().reshape({3, 1, side, side});
    EXPECT_TRUE(testing::all_close(resized_kernel(kernel, side), best, 1e-9)) << side;
  }
}

TEST(FlexiblePatch, PatchesBroughtToTheKernelAreTheKernelBroughtToThePatches) {
  const at::Tensor kernel = at::randn({5, 3, 8, 8}, at::kDouble);
  for (const int64_t side : {4, 8, 11, 16}) {
    const at::Tensor patches = at::randn({7, 3, side, side}, at::kDouble);
    const at::Tensor brought = patches_at_size(patches.flatten(1), 3, 8).view({7, 3, 8, 8});
    EXPECT_TRUE(
        testing::all_close(embedded(brought, kernel), embedded(patches, resized_kernel(kernel, side)), 1e-9))
        << side;
  }
  // By hand: interpolation to half the size is the mean of two pixels, its pseudo-inverse shows each of them twice.
  const at::Tensor row = at::arange(16, at::kDouble).view({1, 16});
  const at::Tensor twice = patches_at_size(row, 1, 8).view({8, 8});
  for (int64_t y = 0; y < 8; ++y) {
    for (int64_t x = 0; x < 8; ++x)
      EXPECT_NEAR(twice[y][x].item<double>(), static_cast<double>(y / 2 * 4 + x / 2), 1e-12);
  }
  EXPECT_THROW(patches_at_size(at::randn({2, 15}), 3, 8), InternalError);
}

World world_of_patch(int64_t patch, int64_t finer = 1) {
  World world = Order::kNative;
  world.thumbnail_patch = patch;
  world.finer = finer;
  check_world(world);
  return world;
}

// Ids by hand: the thumbnail has 8x8 tokens with the ids 1 to 64, a picture's token those of its place.
TEST(PatchSizes, IdAlignResizesUpAndDown) {
  const World world = world_of_patch(4);
  const auto id_of = [&](const Shape& shape, int64_t row, int64_t column) {
    const View view = view_of(shape, Order::kNative);
    const at::Tensor ids = Scheme("id-align").positions(layout_of(view, 4)).coordinates;
    return ids[0][1 + view.high[static_cast<size_t>(row * shape.columns + column)]].item<double>();
  };
  const Shape wide = shape_of(12, 4, world);  // up along rows of 12, down along columns of 4
  EXPECT_EQ(view_of(wide, Order::kNative).thumbnail.size(), 64U);
  EXPECT_EQ(id_of(wide, 0, 0), 1);
  EXPECT_EQ(id_of(wide, 1, 5), 1 + 2 * 8 + 3);  // row 1 * 8 / 4, column 5 * 8 / 12
  EXPECT_EQ(id_of(wide, 3, 11), 1 + 6 * 8 + 7);
  const Shape square = shape_of(8, 8, world);
  EXPECT_EQ(id_of(square, 5, 2), 1 + 5 * 8 + 2);
  // Twice the patches a side: 16 to 8.
  EXPECT_EQ(id_of(shape_of(16, 16, world_of_patch(4, 2)), 5, 15), 1 + 2 * 8 + 7);
}

TEST(PatchSizes, EveryTokenTakesTheIdOfAThumbnailTokenOfItsCell) {
  for (const int64_t patch : {4, 8, 16}) {
    for (const int64_t finer : {1, 2}) {
      const World world = world_of_patch(patch, finer);
      std::vector<Shape> shapes = seen_shapes(world);
      for (const Shape& shape : unseen_shapes(world)) shapes.push_back(shape);
      for (const Shape& shape : shapes) {
        const View view = view_of(shape, Order::kNative);
        const at::Tensor ids = Scheme("id-align").positions(layout_of(view, 4)).coordinates;
        const std::vector<int64_t> cells = cells_of_tokens(shape), thumbnail = cells_of_thumbnail(shape);
        ASSERT_EQ(view.thumbnail.size(), thumbnail.size());
        EXPECT_EQ(thumbnail.size(), patch == 4 ? 64U : 16U);
        for (size_t i = 0; i < cells.size(); ++i) {
          if (cells[i] < 0) continue;
          const auto token = static_cast<size_t>(ids[0][1 + view.high[i]].item<double>()) - 1;
          EXPECT_EQ(thumbnail.at(token), cells[i]) << patch << " " << shape.name() << " " << i;
        }
      }
    }
  }
}

// Every thumbnail patch shows its cell's colour, at every size, and comes to the tower at the kernel's size.
TEST(PatchSizes, ThumbnailPatchesShowTheColoursOfTheirCells) {
  const MediaSettings settings = media_preset("qwen2-vl");
  for (const int64_t patch : {4, 8, 16}) {
    const World world = world_of_patch(patch);
    const Cutter cutter(world, {});
    int64_t right = 0, all = 0;
    for (const Shape& shape : seen_shapes(world)) {
      Rng rng = make_rng(8, {static_cast<uint64_t>(shape.columns)});
      const Picture picture = random_picture(shape, rng, world);
      const at::Tensor patches = cutter.cut(draw_picture(picture, rng), shape, "a picture");
      const std::vector<int64_t> cells = cells_of_thumbnail(shape);
      ASSERT_EQ(patches.size(0), static_cast<int64_t>(cells.size()) + shape.columns * shape.rows);
      ASSERT_EQ(patches.size(1), 3 * kPatch * kPatch);
      const at::Tensor mean = patches.view({-1, 3, kPatch * kPatch}).mean(2);
      for (size_t i = 0; i < cells.size(); ++i) {
        int64_t nearest = -1;
        double least = 1e9;
        for (int64_t colour = 0; colour < kColours; ++colour) {
          double distance = 0;
          for (int64_t c = 0; c < 3; ++c) {
            const auto channel = static_cast<size_t>(c);
            const double shade = mean[static_cast<int64_t>(i)][c].item<double>() * settings.std[channel] +
                                 settings.mean[channel];
            const double off = shade - 0.5 - 0.08 * colour_steps(colour)[channel];
            distance += off * off;
          }
          if (distance < least) {
            least = distance;
            nearest = colour;
          }
        }
        right += nearest == picture.colours[static_cast<size_t>(cells[i])] ? 1 : 0;
        ++all;
      }
    }
    EXPECT_GT(static_cast<double>(right) / static_cast<double>(all), 0.9) << patch;
  }
}

TEST(PatchSizes, AreThatOfTheOrderNative) {
  World world = Order::kNative;
  world.thumbnail_patch = 4;
  EXPECT_EQ(world_from(to_json(world), "x"), world);
  EXPECT_EQ(world_text(world), "order native, thumbnail patches of 4 pixels");
  world.thumbnail_patch = 6;
  EXPECT_THROW(check_world(world), UsageError);
  World tiled;
  tiled.thumbnail_patch = 4;
  EXPECT_THROW(check_world(tiled), UsageError);
}

// One tower for both sizes: after a short lesson it tells what each kind of patch shows.
TEST(PatchSizes, OneTowerLearnsToSeeBoth) {
  const World world = world_of_patch(4);
  const testing::TemporaryFolder folder;
  Llava llava = fresh_model({}, 1e4, 1, world);
  std::vector<Album> albums;
  for (const char* name : {"train", "others"}) {
    draw_album(folder.path(name), name, 32, {seen_shapes(world)[2]}, 1, world);
    albums.push_back(open_album(folder.path(name), Cutter(world, {})));
  }
  const TowerReport report =
      teach_tower(llava, albums[0], albums[1], {.steps = 120, .batch = 32, .learning_rate = 3e-3, .seed = 1});
  EXPECT_GT(report.colour, 0.5);  // of 20 words
  EXPECT_GT(report.glyph, 0.9);
  EXPECT_LT(report.glyph_in_thumbnail, 0.45);  // chance: 0.25
}

}  // namespace
}  // namespace ropescope::miniature
