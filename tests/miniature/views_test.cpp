// The orders of a picture's tokens: every token shows the patch that its place says, ids meet where ID-Align says, and the
// native tower keeps pictures apart.
#include "miniature/views.h"

#include <algorithm>
#include <set>

#include <gtest/gtest.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/rope/scheme.h"

#include "miniature/album.h"
#include "miniature/model.h"
#include "tests/support/golden.h"
#include "tests/support/refusal.h"

namespace ropescope::miniature {
namespace {

constexpr Order kOrders[] = {Order::kLlavaNext, Order::kInternvl, Order::kNative};

std::vector<Shape> shapes_of(Order order) {
  std::vector<Shape> shapes = seen_shapes(order);
  for (const Shape& shape : unseen_shapes(order)) shapes.push_back(shape);
  return shapes;
}

/// ids[token of the picture]
std::vector<double> picture_ids(const View& view, const std::string& scheme) {
  const Positions positions = Scheme(scheme).positions(layout_of(view, 4));
  const double* ids = positions.coordinates.const_data_ptr<double>() + 1;
  return {ids, ids + view.block.tokens()};
}

TEST(Views, EveryTokenHasOnePatchOfItsOwn) {
  for (const Order order : kOrders) {
    for (const Shape& shape : shapes_of(order)) {
      const View view = view_of(shape, order);
      ASSERT_EQ(view.sources.size(), static_cast<size_t>(view.block.tokens())) << shape.name();
      ASSERT_EQ(view.thumbnail.size(), static_cast<size_t>(kCells));
      ASSERT_EQ(view.high.size(), static_cast<size_t>(shape.rows * shape.columns));
      std::set<int64_t> tokens(view.thumbnail.begin(), view.thumbnail.end()), patches;
      tokens.insert(view.high.begin(), view.high.end());
      EXPECT_EQ(tokens.size(), view.thumbnail.size() + view.high.size()) << order_name(order);
      for (const int64_t token : tokens) patches.insert(view.sources[static_cast<size_t>(token)]);
      EXPECT_EQ(patches.size(), tokens.size()) << order_name(order) << " " << shape.name();
      const auto newlines = std::count(view.sources.begin(), view.sources.end(), -1);
      EXPECT_EQ(newlines, order == Order::kLlavaNext ? shape.rows : 0);
    }
  }
}

TEST(Views, InternvlGoesTileByTileAndThumbnailLast) {
  const View view = view_of({12, 8}, Order::kInternvl);  // 2 rows of 3 tiles of 4 x 4
  EXPECT_FALSE(view.thumbnail_first);
  EXPECT_EQ(layout_text(layout_of(view, 4)), "text:1,anyres:4x4+8x12:tiles-first,text:4");
  EXPECT_EQ(view.thumbnail.front(), 96);
  EXPECT_EQ(view.thumbnail.back(), 111);
  EXPECT_EQ(view.high[0], 0);
  EXPECT_EQ(view.high[3], 3);
  EXPECT_EQ(view.high[4], 16);           // the second tile
  EXPECT_EQ(view.high[12], 4);           // the second row
  EXPECT_EQ(view.high[4 * 12 + 8], 80);  // the last tile
}

// What a token's patch shows is the part of the picture that its row and column say.
TEST(Views, PatchesShowTheirPlaceInThePicture) {
  for (const Order order : {Order::kInternvl, Order::kNative}) {
    const MediaSettings settings = media_preset(order == Order::kNative ? "qwen2-vl" : "internvl");
    for (const Shape& shape : shapes_of(order)) {
      Rng rng = make_rng(2, {1});
      const at::Tensor picture = draw_picture(random_picture(shape, rng), rng);
      const at::Tensor cut = Cutter(order, {}).cut(picture, shape, "a picture");
      const View view = view_of(shape, order);
      for (int64_t row = 0; row < shape.rows; ++row) {
        for (int64_t column = 0; column < shape.columns; ++column) {
          const int64_t token = view.high[static_cast<size_t>(row * shape.columns + column)];
          const int64_t source = view.sources[static_cast<size_t>(token)];
          at::Tensor patch;
          if (order == Order::kNative) {
            patch = cut[source].view({3, kPatch, kPatch});
          } else {
            const int64_t place = source % kCells;
            patch = cut[source / kCells]
                        .narrow(1, place / kSide * kPatch, kPatch)
                        .narrow(2, place % kSide * kPatch, kPatch);
          }
          const at::Tensor pixels =
              picture.narrow(0, row * kPatch, kPatch).narrow(1, column * kPatch, kPatch).permute({2, 0, 1});
          for (int64_t c = 0; c < 3; ++c) {
            const auto channel = static_cast<size_t>(c);
            const at::Tensor expected =
                (pixels[c].to(at::kFloat) / 255.0 - settings.mean[channel]) / settings.std[channel];
            ASSERT_TRUE(testing::all_close(patch[c], expected, 1e-5))
                << order_name(order) << " " << shape.name() << " " << row << "," << column;
          }
        }
      }
    }
  }
}

TEST(Views, IdAlignMeetsInEveryOrder) {
  for (const Order order : kOrders) {
    for (const Shape& shape : shapes_of(order)) {
      const View view = view_of(shape, order);
      const std::vector<int64_t> cells = cells_of_tokens(shape);
      for (const char* scheme : {"id-align", "id-align:newline=in_place", "vanilla"}) {
        const std::vector<double> ids = picture_ids(view, scheme);
        int64_t meet = 0, inside = 0;
        for (size_t i = 0; i < cells.size(); ++i) {
          if (cells[i] < 0) continue;
          ++inside;
          const int64_t thumbnail = view.thumbnail[static_cast<size_t>(cells[i])];
          meet += ids[static_cast<size_t>(view.high[i])] == ids[static_cast<size_t>(thumbnail)] ? 1 : 0;
        }
        EXPECT_EQ(meet, std::string(scheme) == "vanilla" ? 0 : inside)
            << order_name(order) << " " << shape.name() << " " << scheme;
      }
    }
  }
}

TEST(Views, RefusePicturesOfAnotherShape) {
  Rng rng = make_rng(3, {1});
  const at::Tensor picture = draw_picture(random_picture({8, 8}, rng), rng);
  for (const Order order : {Order::kInternvl, Order::kNative}) {
    EXPECT_EQ(testing::refusal_of([&] {
                Cutter(order, {}).cut(picture, {12, 4}, "p.png");
              }),
              "p.png: expected a picture that comes to 12x4 patches");
  }
  EXPECT_THROW(parse_order("internvl2"), UsageError);
  EXPECT_THROW(view_of({6, 8}, Order::kInternvl), InternalError);  // no whole tiles
}

class NativePictures : public ::testing::Test {
 protected:
  void SetUp() override {
    draw_album(folder_.path("pictures"), "some", 8, seen_shapes(Order::kNative), 4);
    album_ = open_album(folder_.path("pictures"), Cutter(Order::kNative, {}));
    llava_ = fresh_model({}, 1e4, 5, Order::kNative);
  }
  testing::TemporaryFolder folder_;
  Album album_;
  Llava llava_;
};

TEST_F(NativePictures, DoNotSeeEachOther) {
  const at::NoGradGuard no_grad;
  for (Group& group : album_.groups) {
    const at::Tensor both = see(llava_, group, at::arange(2, at::kLong));
    ASSERT_EQ(both.size(1), kCells + group.shape.rows * group.shape.columns);
    const at::Tensor second = see(llava_, group, at::tensor({1}, at::kLong));
    EXPECT_TRUE(testing::all_close(second[0], both[1], 1e-5)) << group.shape.name();
    // The thumbnail and the picture are two pictures.
    group.tiles.narrow(1, kCells, 1).add_(1.0);
    const at::Tensor changed = see(llava_, group, at::arange(2, at::kLong));
    EXPECT_TRUE(testing::all_close(changed.narrow(1, 0, kCells), both.narrow(1, 0, kCells), 1e-5));
    const at::Tensor far = (changed - both).narrow(1, both.size(1) - 1, 1).abs().amax();
    EXPECT_GT(far.item<double>(), 1e-6) << "the last patch does not see the first";
  }
}

TEST_F(NativePictures, ComeBackFromTheirFeatures) {
  const at::Tensor before = see(llava_, album_.groups[0], at::arange(2, at::kLong));
  look_at(album_, llava_);
  save_albums(folder_.path("features.safetensors"), {{"some", album_}});
  const Album again = load_album(folder_.path("features.safetensors"), "some", Order::kNative);
  ASSERT_EQ(again.groups.size(), album_.groups.size());
  const auto same = std::find_if(again.groups.begin(), again.groups.end(), [&](const Group& group) {
    return group.shape.name() == album_.groups[0].shape.name();
  });
  ASSERT_NE(same, again.groups.end());
  EXPECT_TRUE(
      testing::all_close(same->features, before, 1e-5));  // thumbnail first: tokens in the tower's order
}

}  // namespace
}  // namespace ropescope::miniature
