// Harder pictures, the relation of two cells, and maps that are wrong on purpose.
#include <algorithm>
#include <set>

#include <gtest/gtest.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/rope/scheme.h"
#include "ropescope/text/chat_template.h"

#include "miniature/album.h"
#include "miniature/model.h"
#include "miniature/rooms.h"
#include "miniature/words.h"
#include "tests/support/golden.h"

namespace ropescope::miniature {
namespace {

World world_with(int64_t side, int64_t glyphs, int64_t finer, Order order = Order::kLlavaNext) {
  World world = order;
  world.side = side;
  world.glyphs = glyphs;
  world.finer = finer;
  return world;
}

TEST(Worlds, EveryCellHasPatchesOfItsOwnInEveryShape) {
  for (const Order order : {Order::kLlavaNext, Order::kInternvl, Order::kNative}) {
    for (const World& world : {world_with(8, 12, 1, order), world_with(4, 4, 2, order)}) {
      std::vector<Shape> shapes = seen_shapes(world);
      for (const Shape& shape : unseen_shapes(world)) shapes.push_back(shape);
      ASSERT_EQ(shapes.size(), 7U);
      for (const Shape& shape : shapes) {
        const View view = view_of(shape, order);
        ASSERT_EQ(view.thumbnail.size(), static_cast<size_t>(world.cells())) << shape.name();
        ASSERT_EQ(view.high.size(), static_cast<size_t>(shape.rows * shape.columns)) << shape.name();
        std::set<int64_t> cells;
        for (const int64_t cell : cells_of_tokens(shape)) cells.insert(cell);
        cells.erase(-1);
        EXPECT_EQ(cells.size(), static_cast<size_t>(world.cells()))
            << world_text(world) << " " << shape.name();
      }
    }
  }
}

TEST(Worlds, ColoursAndGlyphsDiffer) {
  std::set<std::array<double, 3>> steps;
  for (int64_t colour = 0; colour < 64; ++colour) steps.insert(colour_steps(colour, 64));
  EXPECT_EQ(steps.size(), 64U);
  for (int64_t a = 0; a < 12; ++a) {
    for (int64_t b = 0; b < a; ++b) {
      const at::Tensor x = glyph_pattern(a).flatten(), y = glyph_pattern(b).flatten();
      // Products of cosines of different frequencies over whole patches are orthogonal.
      EXPECT_NEAR(x.dot(y).item<double>(), 0.0, 1e-4) << a << " " << b;
    }
  }
}

TEST(Worlds, ComeBackFromFilesAndHaveWordsForAll) {
  const testing::TemporaryFolder folder;
  World world = world_with(8, 12, 2);
  world.task = Task::kRelation;
  EXPECT_EQ(world_from(to_json(world), "x"), world);
  EXPECT_EQ(to_json(World()), Json::object());
  EXPECT_THROW(world_from({{"side", 5}}, "x"), InputError);
  EXPECT_EQ(vocabulary(World()), 288);
  EXPECT_EQ(vocabulary(world) % 16, 0);
  EXPECT_GE(vocabulary(world), first_direction_id(world) + 4);
  Llava llava = fresh_model({}, 1e4, 4, world);
  save_model(llava, folder.path("model"), "", world);
  const auto tokenizer = load_tokenizer(folder.path("model"));
  EXPECT_EQ(encode_with_images(*tokenizer, " shade64 planks left below"),
            (std::vector<int64_t>{kStartId, kFirstColourId + 63, first_glyph_id(world) + 11,
                                  first_direction_id(world), first_direction_id(world) + 3}));
}

TEST(Relation, OneCellHasTheMarkerAndAnswersAreWhereItLies) {
  World world;
  world.task = Task::kRelation;
  Rng rng = make_rng(2, {1});
  const Shape shape{8, 8};
  std::vector<int64_t> colours, glyphs;
  for (int i = 0; i < 20; ++i) {
    const Picture picture = random_picture(shape, rng, world);
    EXPECT_EQ(std::count(picture.glyphs.begin(), picture.glyphs.end(), world.glyphs - 1), 1);
    colours.insert(colours.end(), picture.colours.begin(), picture.colours.end());
    glyphs.insert(glyphs.end(), picture.glyphs.begin(), picture.glyphs.end());
  }
  Group group;
  group.shape = shape;
  group.colours = at::tensor(colours, at::kLong).view({20, 16});
  group.glyphs = at::tensor(glyphs, at::kLong).view({20, 16});
  group.features = at::zeros({20, 3, 2});
  const Batch batch = make_batch(world, group, at::arange(20, at::kLong), 8, rng);
  std::set<int64_t> answers;
  for (int64_t row = 0; row < 20; ++row) {
    std::set<int64_t> asked;
    for (int64_t q = 0; q < 8; ++q) {
      const int64_t colour = batch.dialogue[row][2 * q].item<int64_t>() - kFirstColourId;
      const int64_t answer = batch.dialogue[row][2 * q + 1].item<int64_t>() - first_direction_id(world);
      EXPECT_EQ(batch.answers[row][q].item<int64_t>() - first_direction_id(world), answer);
      asked.insert(colour);
      answers.insert(answer);
      const Picture picture{shape,
                            {colours.begin() + 16 * row, colours.begin() + 16 * row + 16},
                            {glyphs.begin() + 16 * row, glyphs.begin() + 16 * row + 16}};
      const auto place = [](const std::vector<int64_t>& list, int64_t value) {
        return std::find(list.begin(), list.end(), value) - list.begin();
      };
      const int64_t cell = place(picture.colours, colour), marker = place(picture.glyphs, 3);
      const int64_t right = marker % 4 - cell % 4, down = marker / 4 - cell / 4;
      const bool along_row = std::abs(right) > std::abs(down);
      ASSERT_NE(std::abs(right), std::abs(down));
      EXPECT_EQ(answer, along_row ? (right < 0 ? 0 : 1) : (down < 0 ? 2 : 3));
    }
    EXPECT_EQ(asked.size(), 8U);
  }
  EXPECT_EQ(answers, (std::set<int64_t>{0, 1, 2, 3}));
  EXPECT_THROW(make_batch(world, group, at::arange(20, at::kLong), 16, rng), UsageError);
}

TEST(WrongMaps, AreIdAligns) {
  EXPECT_EQ(with_map("vanilla", "", 3), "vanilla");
  EXPECT_EQ(with_map("id-align", "mirror", 3), "id-align:wrong=mirror,wrong_seed=3");
  EXPECT_EQ(with_map("id-align+mrope", "shift-2", 0), "id-align:wrong=shift-2,wrong_seed=0+mrope");
  EXPECT_EQ(with_map("id-align:resize=bilinear+mrope", "shuffle", 1),
            "id-align:wrong=shuffle,wrong_seed=1,resize=bilinear+mrope");
  for (const char* map : {"shift", "shift-x", "mirror-1", "random-150", "left"}) {
    EXPECT_THROW(with_map("id-align", map, 0), UsageError) << map;
  }
  EXPECT_THROW(with_map("vanilla", "mirror", 0), UsageError);
}

// The mapping reaches the ids, and nothing but high-resolution tokens has others.
TEST(WrongMaps, ExchangeTheIdsOfHighResolutionTokensAlone) {
  const Shape shape{6, 8};
  const View view = view_of(shape, Order::kLlavaNext);
  const Layout layout = layout_of(view, 4);
  for (const char* scheme : {"id-align:newline=counted", "id-align:newline=counted+mrope-interleave"}) {
    const at::Tensor ids = Scheme(scheme).positions(layout).coordinates;
    const at::Tensor mirrored = Scheme(with_map(scheme, "mirror", 0)).positions(layout).coordinates;
    const std::vector<int64_t> cells = cells_of_tokens(shape);
    std::set<int64_t> high;
    for (size_t i = 0; i < view.high.size(); ++i) {
      high.insert(1 + view.high[i]);
      if (cells[i] < 0) continue;
      const int64_t cell = cells[i] / 4 * 4 + 3 - cells[i] % 4;
      EXPECT_TRUE(mirrored.select(1, 1 + view.high[i])
                      .equal(ids.select(1, 1 + view.thumbnail[static_cast<size_t>(cell)])));
    }
    for (int64_t token = 0; token < ids.size(1); ++token) {
      if (high.count(token) > 0) continue;
      EXPECT_TRUE(mirrored.select(1, token).equal(ids.select(1, token))) << token;
    }
  }
}

}  // namespace
}  // namespace ropescope::miniature
