// Pictures whose tiles stand in the sequence one by one: measurements, text and JSON.
#include <gtest/gtest.h>

#include "ropescope/core/errors.h"
#include "ropescope/rope/criteria.h"
#include "ropescope/rope/misalignment.h"
#include "ropescope/rope/tiled_block.h"
#include "ropescope/rope/visual_runs.h"

namespace ropescope {
namespace {

// ---- Measurements

// A 2x2 thumbnail behind (or before) two tiles of 2x2; a tag before each tile, a newline behind the row, a word
// between the two grids.
const char* const kTagged = "text:2,anyres:2x2+2x4:tiles-first:before=1:row=1:gap=1:end=1,text:3";

TEST(TiledMeasurements, DistancesFollowTheOrderOfTheBlock) {
  const auto distances = [](const std::string& layout_name, const std::string& text) {
    const Layout layout = parse_layout(layout_name);
    const Scheme scheme(text);
    return anyres_distances(scheme, layout, scheme.positions(layout));
  };
  // tokens   0 1 | 2 tag | 3..6 tile | 7 tag | 8..11 tile | 12 newline | 13 word | 14..17 thumbnail | 18 word | 19..
  const AnyresDistances plain = distances(kTagged, "vanilla");
  EXPECT_EQ(plain.thumbnail_high[0].count, 8);
  // (0,0), (0,1) of the first tile show cell 0, (1,0), (1,1) cell 2; of the second, cells 1 and 3.
  EXPECT_EQ(plain.thumbnail_high[0].mean, (11 + 10 + 11 + 10 + 7 + 6 + 7 + 6) / 8.0);
  EXPECT_EQ(plain.high_text[0].quantiles[0], 18 - 11);
  EXPECT_EQ(plain.high_text[0].quantiles[4], 18 - 3);
  EXPECT_EQ(plain.thumbnail_text[0].quantiles, (std::array<double, 5>{1, 1.75, 2.5, 3.25, 4}));
  for (const std::string reading : {"counted", "inherit", "in_place"}) {
    for (const char* base : {"vanilla", "mrope", "v2pe"}) {
      const AnyresDistances aligned = distances(kTagged, "id-align:newline=" + reading + "+" + base);
      EXPECT_EQ(aligned.thumbnail_high[0].quantiles[4], 0);
      EXPECT_EQ(aligned.high_text[0].quantiles, aligned.thumbnail_text[0].quantiles);
    }
  }
  // Gemma's order: the crops stand last, behind them the end mark, which is no text.
  const AnyresDistances crops =
      distances("anyres:2x2+2x4:thumbnail-first:before=1:after=1:gap=1,text:1", "vanilla");
  EXPECT_EQ(crops.high_text[0].quantiles[0], 2);
  EXPECT_EQ(crops.thumbnail_text[0].quantiles[4], 17);
}

TEST(TiledMeasurements, RunsEndAtWordsNotAtSeparators) {
  const Layout layout = parse_layout(kTagged);
  const Positions positions = Scheme("vanilla").positions(layout);
  const std::vector<VisualRun> runs = visual_runs(layout, positions);
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_EQ(runs[0].first, 2);
  EXPECT_EQ(runs[0].tokens, 11);
  EXPECT_EQ(runs[0].visual, 8);
  EXPECT_EQ(runs[0].next, 13);
  EXPECT_EQ(runs[1].first, 14);
  EXPECT_EQ(*runs[1].before, 13);
  EXPECT_EQ(runs[0].blocks.size() + runs[1].blocks.size(), 1u);
  EXPECT_EQ(run_of(runs, 12).first, 2);
  EXPECT_THROW(run_of(runs, 13), InternalError);
  const PositionBudget budget = position_budget(layout, positions, 0);
  EXPECT_EQ(budget.visual_tokens, 12);
  const Positions aligned = Scheme("id-align").positions(layout);
  EXPECT_EQ(aligned.next, 2 + 1 + 4 + 1 + 3);
}

TEST(TiledMeasurements, CriteriaOfTiles) {
  const auto criteria = [](const std::string& layout_name, const std::string& text) {
    const Layout layout = parse_layout(layout_name);
    const Scheme scheme(text);
    return judge(scheme, layout, scheme.positions(layout), {});
  };
  const std::string internvl = "text:4,anyres:3x3+6x9:tiles-first,text:5";
  EXPECT_TRUE(criteria(internvl, "mrope").coherent());
  EXPECT_TRUE(criteria(internvl, "id-align+mrope").coherent());
  EXPECT_TRUE(criteria(internvl, "id-align+mrope-interleave").full_frequency());
  EXPECT_LT(criteria(internvl, "id-align").growth_per_visual_token, 0.2);
  EXPECT_EQ(criteria(internvl, "vanilla").growth_per_visual_token, 1);
  EXPECT_EQ(criteria(internvl, "id-align").visual_visual_collisions, 0);
  EXPECT_GT(criteria(internvl, "id-align:resize=bilinear").visual_visual_collisions, 0);
  // The tiles' ids are those of a thumbnail behind a word that follows them: they reach past it.
  const Criteria tagged = criteria(kTagged, "id-align:newline=counted+mrope");
  EXPECT_EQ(tagged.at_or_after_following_text, 8);
  EXPECT_EQ(tagged.visual_text_collisions, 0);
  EXPECT_TRUE(tagged.text_axes_equal);
  // Separators that inherit lie on their tile's token; that is meant, and they are not text then.
  const Criteria inherited = criteria(kTagged, "id-align+mrope");
  EXPECT_EQ(inherited.at_or_after_following_text, 8 + 3);
  EXPECT_EQ(inherited.visual_text_collisions, 0);
  EXPECT_EQ(inherited.visual_visual_collisions, 0);
  EXPECT_TRUE(inherited.text_axes_equal);
  // Each tile is a raster of its own where it keeps ids of its own.
  EXPECT_EQ(criteria(kTagged, "mrope").affine_residual, 0);
  EXPECT_TRUE(criteria(kTagged, "mrope").coherent());
}

TEST(TiledMeasurements, TextAfterAClipMayLieInsideIt) {
  const Layout layout = parse_layout("text:2,video:4x1x2:step=2.5,text:3");
  const Scheme extent("mrope:after=extent");
  const Criteria criteria = judge(extent, layout, extent.positions(layout), {});
  EXPECT_EQ(criteria.at_or_after_following_text, 6);  // frames at 2, 4, 7, 9; the text goes on at 4
  const Scheme largest("mrope");
  EXPECT_EQ(judge(largest, layout, largest.positions(layout), {}).at_or_after_following_text, 0);
  EXPECT_FALSE(published_verdict(extent).has_value());
}

// ---- Text and JSON of layouts

TEST(TiledLayout, AllSpellingsAreOnePicture) {
  const std::string canonical = "anyres:3x2+6x6:tiles-first";
  const Layout parsed = parse_layout(canonical);
  EXPECT_EQ(parsed.tokens(), 7 * 6);
  EXPECT_EQ(layout_text(parsed), canonical);
  EXPECT_EQ(layout_text(parse_layout("tiles:2x3x3x2,thumbnail:3x2")), canonical);
  EXPECT_EQ(layout_text(parse_layout("text:1,thumbnail:3x2,tiles:2x3x3x2,text:2")),
            "text:1,anyres:3x2+6x6:thumbnail-first,text:2");
  const Json json = parse_json(
      R"([{"anyres":{"h0":3,"w0":2,"h1":6,"w1":6,"newline":false,"order":"tiles-first"}},)"
      R"({"anyres":{"h0":2,"w0":2,"h1":2,"w1":4,"order":"tiles-first","before":2,"row":1,"gap":2,"end":1}},)"
      R"({"anyres":{"h0":2,"w0":2,"h1":2,"w1":2,"pieces":[["thumbnail"],["text",3],["tile",0,0,2,1],)"
      R"(["tile",0,1,2,1],["after",1]]}},{"video":{"t":2,"h":1,"w":1,"step":2.5}}])",
      "test");
  const std::string text = layout_text(layouts_from_json(json, "test").front());
  EXPECT_EQ(text,
            canonical +
                ",anyres:2x2+2x4:tiles-first:before=2:row=1:gap=2:end=1,"
                "anyres:2x2+2x2:pieces=thumbnail/text3/tile0.0.2.1/tile0.1.2.1/after1,video:2x1x1:step=2.5");
  EXPECT_EQ(layout_text(parse_layout(text)), text);
}

TEST(TiledLayout, EveryTilingIsReadBackFromItsText) {
  for (int64_t code = 0; code < 3 * 3 * 2 * 3 * 3 * 3 * 2; ++code) {
    int64_t rest = code;
    const auto pick = [&rest](int64_t choices) {
      const int64_t chosen = rest % choices;
      rest /= choices;
      return chosen;
    };
    TiledPicture tiling{{1, 2, 1}, 1 + pick(3), 1 + pick(3)};
    tiling.tiles_first = pick(2) == 1;
    tiling.before = pick(3);
    tiling.after = pick(3);
    tiling.row_end = pick(3);
    tiling.between = pick(2);
    tiling.gap = code % 4;
    tiling.end = code % 5;
    Layout layout;
    layout.segments.push_back(tiled_segment(tiling));
    const std::string text = layout_text(layout);
    ASSERT_EQ(text.find("pieces"), std::string::npos) << text;
    ASSERT_EQ(parse_layout(text).segments[0].pieces, layout.segments[0].pieces) << text;
  }
}

TEST(TiledLayout, RefusesWhatIsNoPicture) {
  for (const char* wrong : {"anyres:2x2+5x4:tiles-first",
                            "anyres:2x2:tiles-first",
                            "anyres:2x2+4x4:before=2",
                            "anyres:2x2+4x4:tiles-first:pieces=thumbnail",
                            "anyres:2x2+2x2:pieces=tile0.0.2.2",
                            "anyres:2x2+2x2:pieces=thumbnail/thumbnail/tile0.0.2.2",
                            "anyres:2x2+2x2:pieces=thumbnail/tile0.0.2.1",
                            "anyres:2x2+2x2:pieces=thumbnail/tile0.0.2.1/tile0.0.2.1",
                            "anyres:2x2+2x2:pieces=thumbnail/tile0.1.2.2",
                            "anyres:2x2+2x2:pieces=thumbnail/tile0.0.2.2/before1",
                            "anyres:2x2+2x2:pieces=after1/thumbnail/tile0.0.2.2",
                            "anyres:2x2+2x2:pieces=text0/thumbnail/tile0.0.2.2",
                            "anyres:2x2+2x2:pieces=thumbnail/tile0.0.2.2/",
                            "anyres:2x2+2x2:pieces=word1/thumbnail/tile0.0.2.2",
                            "anyres:2x2+4x4:tiles-first:before=x",
                            "anyres:2x2+4x4:tiles-first:before=-1",
                            "anyres:2x2+4x4:tiles-first:before=99999999",
                            "tiles:2x3x2x2",
                            "tiles:2x3x2x2,text:3",
                            "thumbnail:2x2",
                            "tiles:2x3x0x2,thumbnail:2x2",
                            "tiles:2x2,thumbnail:2x2",
                            "tiles:9999x9999x2x2,thumbnail:2x2",
                            "anyres:1000000x1000000+1000000x1000000:tiles-first",
                            "video:3x4x6:step=-1",
                            "video:3x4x6:step=nan",
                            "video:3x4x6:step=2x",
                            "video:3x4x6:stride=2"}) {
    EXPECT_THROW(parse_layout(wrong), UsageError) << wrong;
  }
  for (const char* wrong :
       {R"("order":"sideways")", R"("order":"tiles-first","newline":true)", R"("before":1)",
        R"("pieces":[["tile",0,0,2]])", R"("pieces":[["tile",0,0,2,"x"]])", R"("pieces":[])", R"("pieces":3)",
        R"("pieces":[["text",-1],["thumbnail"],["tile",0,0,2,2]])", R"("pieces":[[]])",
        R"("order":"tiles-first","pieces":[["thumbnail"]])", R"("order":"tiles-first","row":-1)"}) {
    const std::string text = std::string(R"([{"anyres":{"h0":2,"w0":2,"h1":2,"w1":2,)") + wrong + "}}]";
    EXPECT_THROW(layouts_from_json(parse_json(text, "test"), "test"), InputError) << text;
  }
  EXPECT_THROW(Scheme("id-align:newline=shared").positions(parse_layout("anyres:2x2+2x4:tiles-first:row=1")),
               UsageError);
}

}  // namespace
}  // namespace ropescope
