// Where tokens look, against attention that is known: of queries that are zero it is the same on every key that a token may see.
#include "miniature/gaze.h"

#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"

#include "miniature/gaze_table.h"
#include "miniature/model.h"
#include "tests/miniature/made_up_runs.h"

namespace ropescope::miniature {
namespace {

Llava evenly_looking_model(const World& world) {
  Llava llava = fresh_model({}, 1e4, 3, world);
  for (DecoderLayerWeights& layer : llava.decoder.weights.layers) layer.q.zero_();
  return llava;
}

/// Two pictures of one shape; what they show is of no matter.
Album blank_album(const World& world, const Llava& llava) {
  Album album;
  album.world = world;
  Group group;
  group.shape = seen_shapes(world).front();
  const View view = view_of(group.shape, world.order);
  group.colours = at::zeros({2, world.cells()}, at::kLong);
  group.glyphs = at::zeros({2, world.cells()}, at::kLong);
  group.features = at::ones({2, static_cast<int64_t>(view.sources.size()), llava.config.tower.hidden_size});
  album.groups.push_back(group);
  return album;
}

/// Of the tokens that lie in a cell the mean of 1 / (keys that one sees): the share of one key.
double share_of_one_key(const Shape& shape, const View& view) {
  const std::vector<int64_t> cells = cells_of_tokens(shape);
  double sum = 0;
  int64_t tokens = 0;
  for (size_t i = 0; i < cells.size(); ++i) {
    if (cells[i] < 0) continue;
    sum += 1.0 / static_cast<double>(1 + view.high[i] + 1);  // <s>, the tokens before it, itself
    ++tokens;
  }
  return sum / static_cast<double>(tokens);
}

RoomSettings under(const std::string& scheme, const std::string& map = "") {
  RoomSettings settings;
  settings.scheme = scheme;
  settings.map = map;
  return settings;
}

TEST(Gaze, OfEvenAttentionIsAKeyEach) {
  World finer;
  finer.finer = 2;
  World small_patches = Order::kNative;
  small_patches.thumbnail_patch = 4;  // four thumbnail tokens to a cell
  for (const World& world : {World(), finer, small_patches}) {
    const Llava llava = evenly_looking_model(world);
    const Album album = blank_album(world, llava);
    const Shape& shape = album.groups.front().shape;
    const double one = share_of_one_key(shape, view_of(shape, world.order));
    const auto split = static_cast<double>(world.thumbnail_split());
    const Gaze right = measure_gaze(llava, under("id-align"), album, 0);
    ASSERT_EQ(right.thumbnail.size(), 3U);
    for (size_t layer = 0; layer < 3; ++layer) {
      EXPECT_NEAR(right.thumbnail[layer], 16 * split * split * one, 1e-5) << world_text(world);
      EXPECT_NEAR(right.own[layer], split * split * one, 1e-6) << world_text(world);
      EXPECT_TRUE(std::isnan(right.misplaced_ids[layer])) << world_text(world);
    }
    EXPECT_EQ(right.misplaced, 0) << world_text(world);
    // A cell's tokens have its ids, and no other's.
    for (int64_t cell = 0; cell < 16; ++cell) {
      EXPECT_NEAR(right.placed[static_cast<size_t>(17 * cell)], 1.0, 1e-6) << world_text(world);
    }
  }
}

TEST(Gaze, TellsTheCellThatIsShownFromThatOfTheIds) {
  const World world;
  const Llava llava = evenly_looking_model(world);
  const Album album = blank_album(world, llava);
  const double one =
      share_of_one_key(album.groups.front().shape, view_of(album.groups.front().shape, world.order));
  const Gaze mirrored = measure_gaze(llava, under("id-align", "mirror"), album, 0);
  EXPECT_EQ(mirrored.misplaced, mirrored.tokens);  // four columns: none is its own mirror image
  for (size_t layer = 0; layer < 3; ++layer) {
    EXPECT_NEAR(mirrored.misplaced_own[layer], one, 1e-6);
    EXPECT_NEAR(mirrored.misplaced_ids[layer], one, 1e-6);
  }
  for (size_t cell = 0; cell < 16; ++cell) {
    const size_t image = cell / 4 * 4 + 3 - cell % 4;
    EXPECT_EQ(mirrored.placed[16 * cell + image], 1.0);
    EXPECT_EQ(mirrored.placed[16 * cell + cell], 0.0);
  }
  // The map's mean over cells is what falls on the thumbnail: as many tokens lie in each cell.
  double all = 0;
  for (const double share : mirrored.map) all += share / 16;
  EXPECT_NEAR(all, mirrored.thumbnail[0], 1e-5);
  // Half of them by chance; and of plain positions nobody has a thumbnail token's ids.
  const Gaze half = measure_gaze(llava, under("id-align", "random-50"), album, 0);
  EXPECT_EQ(2 * half.misplaced, half.tokens);
  const Gaze plain = measure_gaze(llava, under("vanilla"), album, 1);
  EXPECT_EQ(2 * plain.tokens, half.tokens);
  EXPECT_EQ(plain.misplaced, 0);
  for (const double share : plain.placed) EXPECT_EQ(share, 0.0);
}

// A query that meets the keys of its own ids best: what is measured follows the attention, and which cell is which.
TEST(Gaze, FollowsTheAttention) {
  const World world;
  Llava llava = fresh_model({}, 1e4, 3, world);
  for (DecoderLayerWeights& layer : llava.decoder.weights.layers) {
    // Keys and queries are the same constant but for their rotation: the nearest ids score highest.
    layer.q.zero_();
    layer.k.zero_();
    layer.q.select(1, 0).fill_(60.0);
    layer.k.select(1, 0).fill_(60.0);
    layer.o.zero_();
    layer.down.zero_();
    layer.input_norm.fill_(1.0);
  }
  llava.decoder.weights.embed_tokens.fill_(1.0);
  llava.image_newline.fill_(1.0);
  llava.projector.linear_2.weight.zero_();
  llava.projector.linear_2.bias.fill_(1.0);
  const Album album = blank_album(world, llava);
  const Gaze right = measure_gaze(llava, under("id-align"), album, 0);
  const Gaze mirrored = measure_gaze(llava, under("id-align", "mirror"), album, 0);
  for (size_t layer = 0; layer < 3; ++layer) {
    EXPECT_GT(right.own[layer], 0.2);
    EXPECT_GT(mirrored.misplaced_ids[layer], 0.2);
    EXPECT_LT(mirrored.misplaced_own[layer], 0.01);
  }
}

TEST(Gaze, ComesBackFromItsFile) {
  const World world;
  const Llava llava = evenly_looking_model(world);
  const Gaze gaze = measure_gaze(llava, under("id-align"), blank_album(world, llava), 0);
  const Json json = to_json(gaze);
  const Gaze again = gaze_from(Json::parse(json.dump()), "a run");
  EXPECT_EQ(to_json(again), json);
  EXPECT_TRUE(std::isnan(again.misplaced_own[0]));
  for (const char* part : {"own", "map", "misplaced_ids"}) {
    Json broken = json;
    broken[part].push_back("x");
    EXPECT_THROW(gaze_from(broken, "a run"), InputError) << part;
    broken[part] = Json::array({1.0});
    EXPECT_THROW(gaze_from(broken, "a run"), InputError) << part;
    broken.erase(part);
    EXPECT_THROW(gaze_from(broken, "a run"), InputError) << part;
  }
}

TEST(Gaze, IsRefusedWhereNobodyCanLookBack) {
  EXPECT_THROW(check_gaze(Order::kInternvl, {}), UsageError);
  EXPECT_THROW(check_gaze({}, parse_compression("pool-2", "")), UsageError);
  check_gaze(Order::kNative, {});
}

TEST(GazeTable, HasMeansOfRowsWhoseRunsAllHaveOne) {
  const World world;
  const Llava llava = evenly_looking_model(world);
  Gaze gaze = measure_gaze(llava, under("id-align"), blank_album(world, llava), 0);
  std::vector<miniature::Run> runs;
  for (const auto& [seed, own] : {std::pair{0, 0.2}, {1, 0.3}, {2, 0.4}}) {
    gaze.own = {own, 0.1, 0.1};
    Json with = answered_run("id-align", seed, {30, 94}), without = answered_run("vanilla", seed, {30, 40});
    with["gaze"] = {{"seen", to_json(gaze)}, {"unseen", to_json(gaze)}};
    if (seed > 0) without["gaze"] = with["gaze"];
    for (const Json& json : {with, without}) runs.push_back(parse_run(json, "a run"));
  }
  const std::vector<Row> rows = make_rows(runs, {"vanilla", "id-align"});
  ASSERT_TRUE(has_gaze(rows));
  const std::string table = gaze_table(rows);
  EXPECT_EQ(rows[1].scheme, "id-align");
  const std::vector<MeanInterval> shares = gaze_shares(rows[1], 1, 0);
  ASSERT_EQ(shares.size(), 4U);
  EXPECT_NEAR(shares[1].mean, 0.3, 1e-12);
  // t(0.975, 2) = 4.3027, standard error 0.1 / sqrt(3)
  EXPECT_NEAR(shares[1].ci95_high, 0.3 + 4.3027 * 0.1 / std::sqrt(3.0), 1e-4);
  EXPECT_NE(table.find("| id-align | 10⁴ | answers and cells | 0 | "), std::string::npos) << table;
  EXPECT_NE(table.find("| 0.30 [0.05, 0.55] | — | — | 3 |"), std::string::npos) << table;
  EXPECT_EQ(table.find("| vanilla |"), std::string::npos) << table;
  const std::string csv = gaze_csv(rows);
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 1 + 2 * 3 * 3);
  EXPECT_NE(csv.find("\"id-align\",\"\",10000,,1,unseen,0,2,"), std::string::npos) << csv;
  EXPECT_FALSE(has_gaze({rows[0]}));
  runs[0].gaze->front().own.pop_back();
  EXPECT_THROW(gaze_table(make_rows(runs, {})), InputError);
}

}  // namespace
}  // namespace ropescope::miniature
