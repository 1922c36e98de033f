// Regions of pixels and words as tokens, distractor text, patch features.
#include "ropescope/probe/attention_input.h"

#include <gtest/gtest.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/probe/patch_features.h"
#include "ropescope/probe/picture_cells.h"
#include "ropescope/vision/preprocess.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

AttentionInput picture_input(const std::string& layout, int64_t width, int64_t height) {
  AttentionInput input;
  input.layout = parse_layout(layout);
  input.input_ids = at::zeros({1, input.layout.tokens()}, at::kLong);
  AttendedPicture picture;
  picture.name = "p.png";
  picture.width = width;
  picture.height = height;
  input.pictures.push_back(picture);
  take_last_text_as_question(input);
  return input;
}

TEST(AttentionInput, PlacesOfAnyresTokens) {
  const TokenPlaces places =
      token_places(parse_layout("text:1,anyres:2x2+2x4,text:1,video:2x1x2,anyres:2x2"));
  using M = Modality;
  EXPECT_EQ(places.modality,
            (std::vector<M>{M::kText,    M::kImage,   M::kImage,   M::kImage,   M::kImage,
                            M::kHighRes, M::kHighRes, M::kHighRes, M::kHighRes, M::kNewline,
                            M::kHighRes, M::kHighRes, M::kHighRes, M::kHighRes, M::kNewline,
                            M::kText,    M::kVideo,   M::kVideo,   M::kVideo,   M::kVideo,
                            M::kImage,   M::kImage,   M::kImage,   M::kImage,   M::kNewline}));
  EXPECT_EQ(places.partner[5], 1);
  EXPECT_EQ(places.partner[8], 2);
  EXPECT_EQ(places.partner[13], 4);
  EXPECT_EQ(places.partner[9], -1);
  EXPECT_EQ(places.raster[4], 0);
  EXPECT_EQ(places.raster[5], 1);
  EXPECT_EQ(places.raster[16], 2);
  EXPECT_EQ(places.raster[18], 3);
  EXPECT_EQ(places.block[24], 2);
}

TEST(AttentionInput, ARegionIsTheHighResolutionCellsThatItTouches) {
  // 40 x 20 pixels under 2 rows of 4 cells: 10 x 10 pixels each, at tokens 5 and 10 on.
  const AttentionInput input = picture_input("text:1,anyres:2x2+2x4,text:1", 40, 20);
  const TokenPlaces places = token_places(input.layout);
  EXPECT_EQ(region_tokens(input, places, parse_region("0,0,10,10")), (std::vector<int64_t>{5}));
  EXPECT_EQ(region_tokens(input, places, parse_region("9.5,0,1,5")), (std::vector<int64_t>{5, 6}));
  EXPECT_EQ(region_tokens(input, places, parse_region("25,5,10,10")), (std::vector<int64_t>{7, 8, 12, 13}));
  EXPECT_EQ(region_tokens(input, places, parse_region("0,0,1000,1000")).size(), 8u);
  EXPECT_THROW(region_tokens(input, places, parse_region("40,0,1,1")), UsageError);
  for (const char* wrong : {"1,2,3", "1,2,3,4,5", "a,b,c,d", "0,0,0,5", "-1,0,5,5", ""}) {
    EXPECT_THROW(parse_region(wrong), UsageError) << wrong;
  }
  AttentionInput without = input;
  without.pictures.clear();
  EXPECT_THROW(region_tokens(without, places, parse_region("0,0,1,1")), UsageError);
}

TEST(AttentionInput, RegionsFollowTheGeometryOfPaddedTiles) {
  // 300 x 500 pixels in a grid padded left and right: unpadded columns lie on the picture alone.
  AttentionInput input = picture_input("text:1", 300, 500);
  const AnyresGeometry geometry = anyres_geometry(300, 500, *preset_settings("llava-next-clip").anyres);
  Segment block;
  block.kind = Segment::Kind::kAnyres;
  block.grid = {1, geometry.thumbnail_HW[0], geometry.thumbnail_HW[1]};
  block.high_h = geometry.feat_H1W1[0];
  block.high_w = geometry.feat_H1W1[1];
  input.layout.segments.push_back(block);
  set_cell_maps(input.pictures.front(), anyres_plan(geometry, geometry.feat_H1W1, 336));
  const TokenPlaces places = token_places(input.layout);
  const auto cells = [&](const char* region) {
    int64_t rows[2] = {1 << 20, -1}, columns[2] = {1 << 20, -1};
    for (const int64_t token : region_tokens(input, places, parse_region(region))) {
      const auto at = static_cast<size_t>(token);
      rows[0] = std::min(rows[0], places.row[at]);
      rows[1] = std::max(rows[1], places.row[at]);
      columns[0] = std::min(columns[0], places.column[at]);
      columns[1] = std::max(columns[1], places.column[at]);
    }
    return std::array<int64_t, 4>{columns[0], columns[1], rows[0], rows[1]};
  };
  const int64_t right = block.high_w - 1, bottom = block.high_h - 1;
  EXPECT_EQ(cells("0,0,300,500"), (std::array<int64_t, 4>{0, right, 0, bottom}));
  EXPECT_EQ(cells("0,0,1,1"), (std::array<int64_t, 4>{0, 0, 0, 0}));
  // The middle of the picture is in the middle of the grid, to a cell.
  const auto middle = cells("149,249,2,2");
  EXPECT_NEAR(0.5 * static_cast<double>(middle[0] + middle[1]), 0.5 * static_cast<double>(right), 1.0);
  EXPECT_NEAR(0.5 * static_cast<double>(middle[2] + middle[3]), 0.5 * static_cast<double>(bottom), 1.0);
}

TEST(AttentionInput, PlacesAndRegionsOfTilesInTheSequence) {
  // Two tiles of 2x2 with a tag before each, two words, the thumbnail: cells of 10 x 10 pixels.
  AttentionInput input = picture_input("text:1,anyres:2x2+2x4:tiles-first:before=1:gap=2,text:1", 40, 20);
  const TokenPlaces places = token_places(input.layout);
  using I = std::vector<int64_t>;
  using M = Modality;
  const M t = M::kText, h = M::kHighRes, o = M::kImage;
  EXPECT_EQ(places.modality, (std::vector<M>{t, t, h, h, h, h, t, h, h, h, h, t, t, o, o, o, o, t}));
  EXPECT_EQ(places.row, (I{-1, -1, 0, 0, 1, 1, -1, 0, 0, 1, 1, -1, -1, 0, 0, 1, 1, -1}));
  EXPECT_EQ(places.column, (I{-1, -1, 0, 1, 0, 1, -1, 2, 3, 2, 3, -1, -1, 0, 1, 0, 1, -1}));
  EXPECT_EQ(places.partner, (I{-1, -1, 13, 13, 15, 15, -1, 14, 14, 16, 16, -1, -1, -1, -1, -1, -1, -1}));
  EXPECT_EQ(places.block, (I{-1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, -1, 0, 0, 0, 0, -1}));
  EXPECT_EQ(places.raster, (I{-1, -1, 1, 1, 1, 1, -1, 1, 1, 1, 1, -1, -1, 0, 0, 0, 0, -1}));
  EXPECT_EQ(region_tokens(input, places, parse_region("15,0,10,5")), (I{3, 7}));
  EXPECT_EQ(region_tokens(input, places, parse_region("35,12,1,1")), (I{10}));
  // The tiles were cut from the right half: the left half shows nothing.
  input.pictures.front().high = CellMap{20, 0, 5, 10};
  EXPECT_EQ(region_tokens(input, places, parse_region("24,15,2,1")), (I{4, 5}));
  EXPECT_THROW(region_tokens(input, places, parse_region("0,0,5,5")), UsageError);
  // Features follow the places, not the order of the sequence.
  at::manual_seed(1);
  AttentionInput raster = picture_input("text:1,anyres:2x2+2x4:no-newline,text:1", 40, 20);
  raster.pictures.front().rgb_HW3 = input.pictures.front().rgb_HW3 =
      at::randint(0, 255, {20, 40, 3}, at::kLong).to(at::kByte);
  const at::Tensor table = at::randn({3, 8});
  input.input_ids[0][6] = 2;
  const at::Tensor tiled = patch_embeddings(input, table, 5)[0],
                   whole = patch_embeddings(raster, table, 5)[0];
  EXPECT_TRUE(tiled[2].equal(whole[5]));
  EXPECT_TRUE(tiled[4].equal(whole[9]));
  EXPECT_TRUE(tiled[8].equal(whole[8]));
  EXPECT_TRUE(tiled[13].equal(whole[1]));
  EXPECT_TRUE(tiled[6].equal(table[2]));
}

TEST(AttentionInput, AWordIsTheTokensThatHoldItsCharacters) {
  AttentionInput input;
  input.layout = parse_layout("image:1x2,text:5");
  input.input_ids = at::tensor({0, 0, 1, 2, 3, 4, 5}, at::kLong).unsqueeze(0);
  take_last_text_as_question(input);
  const auto decode = [](const std::vector<int64_t>& ids) {
    const std::vector<std::string> pieces = {"", "A cat", "alog", " of", " c", "ats?"};
    std::string text;
    for (const int64_t id : ids) text += pieces[static_cast<size_t>(id)];
    return text;
  };
  EXPECT_EQ(word_tokens(input, "catalog", decode), (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(word_tokens(input, "cats", decode), (std::vector<int64_t>{5, 6}));  // not the start of "catalog"
  EXPECT_EQ(word_tokens(input, "of", decode), (std::vector<int64_t>{4}));
  EXPECT_THROW(word_tokens(input, "cat", decode), UsageError);
  EXPECT_THROW(word_tokens(input, "", decode), UsageError);
}

TEST(AttentionInput, DistractorTextStandsBehindTheLastImage) {
  Decoder decoder;
  decoder.weights.embed_tokens = at::arange(40, at::kFloat).view({10, 4});
  AttentionInput input;
  input.layout = parse_layout("text:1,image:1x2,text:2");
  input.input_ids = at::tensor({1, 0, 0, 2, 3}, at::kLong).unsqueeze(0);
  input.inputs_embeds = at::zeros({1, 5, 4});
  take_last_text_as_question(input);
  const AttentionInput longer = with_distractor(decoder, input, {7, 8, 9});
  EXPECT_EQ(longer.layout.tokens(), 8);
  EXPECT_TRUE(testing::all_close(longer.input_ids[0], at::tensor({1, 0, 0, 7, 8, 9, 2, 3}, at::kLong), 0));
  EXPECT_TRUE(testing::all_close(longer.inputs_embeds[0][4], decoder.weights.embed_tokens[8], 0));
  EXPECT_EQ(longer.question_first, 6);
  EXPECT_EQ(longer.question_tokens, 2);
  AttentionInput text = input;
  text.layout = parse_layout("text:5");
  EXPECT_THROW(with_distractor(decoder, text, {7}), UsageError);
}

TEST(PatchFeatures, HaveTheNormOfTheTableAndFollowThePicture) {
  at::manual_seed(3);
  const at::Tensor table = at::randn({50, 16}) * 0.2;
  AttentionInput input = picture_input("text:2,anyres:3x3+6x6,text:2", 60, 60);
  input.pictures.front().rgb_HW3 = at::randint(0, 256, {60, 60, 3}, at::kLong).to(at::kByte);
  const at::Tensor embeds = patch_embeddings(input, table, 1)[0];
  ASSERT_EQ(embeds.sizes().vec(), (std::vector<int64_t>{input.layout.tokens(), 16}));
  EXPECT_TRUE(testing::all_close(embeds[0], table[0], 0));
  const at::Tensor norms = at::linalg_vector_norm(embeds.narrow(0, 2, 9 + 42), 2, at::IntArrayRef({1}));
  const double expected = at::linalg_vector_norm(table, 2, at::IntArrayRef({1})).mean().item<double>();
  EXPECT_LT((norms - expected).abs().max().item<double>(), 1e-4);
  EXPECT_TRUE(testing::all_close(patch_embeddings(input, table, 1)[0], embeds, 0));
  EXPECT_FALSE(testing::all_close(patch_embeddings(input, table, 2)[0], embeds, 1e-3));
  // Newline tokens (the last of each row of 7) are one vector.
  EXPECT_TRUE(testing::all_close(embeds[2 + 9 + 6], embeds[2 + 9 + 13], 0));
  // A constant picture: all cells alike.
  input.pictures.front().rgb_HW3 = at::zeros({60, 60, 3}, at::kByte);
  const at::Tensor flat = patch_embeddings(input, table, 1)[0];
  EXPECT_TRUE(testing::all_close(flat[2], flat[10], 1e-6));
  EXPECT_TRUE(testing::all_close(flat[2], flat[11], 1e-6));
}

}  // namespace
}  // namespace ropescope
