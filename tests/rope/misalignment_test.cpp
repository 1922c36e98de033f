#include "ropescope/rope/misalignment.h"

#include <chrono>

#include <gtest/gtest.h>

#include "ropescope/core/errors.h"
#include "ropescope/rope/criteria.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using testing::golden_json;

TEST(Misalignment, EqualsTheGoldenStatisticsUnderEveryRule) {
  int64_t compared = 0;
  const Json golden = golden_json("positions/idalign_cases.json");
  for (const Json& record : golden.at("resize_statistics")) {
    const std::string text = fmt::format("text:3,anyres:{}x{}+{}x{},text:2", record["thumb"][0].get<int>(),
                                         record["thumb"][1].get<int>(), record["high"][0].get<int>(),
                                         record["high"][1].get<int>());
    const Layout layout = parse_layout(text);
    for (const std::string rule : {"nearest", "nearest-exact", "bilinear"}) {
      SCOPED_TRACE(text + " " + rule);
      const Json actual = to_json(resize_misalignment(Scheme("id-align:resize=" + rule), layout), layout);
      EXPECT_EQ(actual.at("tokens"), record.at("tokens"));
      EXPECT_EQ(actual.at("inherits"), true);
      for (const auto& [field, value] : record.at(rule).items()) {
        EXPECT_EQ(actual.at(field), value) << field;
        ++compared;
      }
    }
  }
  EXPECT_EQ(compared, 15 * 3 * 6);
}

TEST(Misalignment, IsSummedOverBlocksAndSaysWhereNothingIsInherited) {
  const Layout both = parse_layout("anyres:24x24+37x48,text:3,anyres:24x24,anyres:24x24+48x31:no-newline");
  const Scheme scheme("id-align:resize=bilinear+mrope");
  const ResizeMisalignment sum = resize_misalignment(scheme, both).value();
  EXPECT_EQ(sum.tokens, 1776 + 1488);
  EXPECT_EQ(sum.column_differs, 1630 + 1450);
  EXPECT_EQ(sum.max_column_error, 23);
  const Json none = to_json(resize_misalignment(Scheme("mrope"), both), both);
  EXPECT_EQ(none.at("inherits"), false);
  EXPECT_EQ(none.at("tokens"), 1776 + 1488);
  EXPECT_TRUE(none.at("row_differs").is_null());
}

TEST(Misalignment, DistancesOfASmallLayout) {
  // Thumbnail ids 3..6, high-resolution rows {3,3,4,4},{3,3,4,4},{5,...}: text at 7.
  const Layout layout = parse_layout("text:3,anyres:2x2+4x4,text:2");
  const auto distances = [&](const std::string& text) {
    const Scheme scheme(text);
    return anyres_distances(scheme, layout, scheme.positions(layout));
  };
  const AnyresDistances aligned = distances("id-align");
  ASSERT_EQ(aligned.thumbnail_high.size(), 1u);
  EXPECT_EQ(aligned.thumbnail_high[0].count, 16);
  EXPECT_EQ(aligned.thumbnail_high[0].quantiles[4], 0);
  EXPECT_EQ(aligned.high_text[0].mean, 2.5);
  EXPECT_EQ(aligned.thumbnail_text[0].quantiles, (std::array<double, 5>{1, 1.75, 2.5, 3.25, 4}));
  // Vanilla: high-resolution token r, c at 7 + 5 r + c; its thumbnail cell at 3 + 2 (r/2) + c/2.
  const AnyresDistances plain = distances("vanilla");
  EXPECT_EQ(plain.thumbnail_high[0].quantiles[0], 4);
  EXPECT_EQ(plain.thumbnail_high[0].quantiles[4], 7 + 15 + 3 - 6);
  EXPECT_EQ(plain.high_text[0].quantiles[0], 2);  // the last row's newline stands between
  EXPECT_EQ(distances("mrope").thumbnail_high.size(), 3u);
  EXPECT_EQ(distances("id-align+mrope").thumbnail_high[2].mean, 0);
}

TEST(Misalignment, BudgetCountsIdsAndWhatLiesBeyondTheContext) {
  const Layout layout = parse_layout("text:35,anyres:24x24+48x48,text:20,image:4x6,image:2x2,text:1");
  const auto budget = [&](const std::string& text, int64_t context) {
    return position_budget(layout, Scheme(text).positions(layout), context);
  };
  const PositionBudget vanilla = budget("vanilla", 2000);
  EXPECT_EQ(vanilla.largest, layout.tokens() - 1);
  EXPECT_EQ(vanilla.beyond_context, layout.tokens() - 2000);
  EXPECT_EQ(vanilla.runs, (std::vector<PositionBudget::Run>{{2928, 2928}, {28, 28}}));
  const PositionBudget aligned = budget("id-align", 2000);
  EXPECT_EQ(aligned.runs, (std::vector<PositionBudget::Run>{{2928, 576}, {28, 28}}));
  EXPECT_EQ(aligned.beyond_context, 0);
  EXPECT_EQ(aligned.next, 35 + 576 + 20 + 28 + 1);
  EXPECT_LT(budget("circlerope:radius=60", 0).smallest, 0);
  EXPECT_EQ(position_budget(Layout{}, Scheme("mrope").positions(Layout{}), 5).largest, -1);
}

// A high-resolution picture takes milliseconds; a quadratic count would take seconds.
TEST(Misalignment, LargeLayoutsTakeNoTime) {
  const Layout layout = parse_layout("text:35,anyres:24x24+48x48,text:20");
  for (const std::string text : {"vanilla", "id-align", "id-align:resize=bilinear", "mrope", "circlerope"}) {
    const Scheme scheme(text);
    const auto start = std::chrono::steady_clock::now();
    const Positions positions = scheme.positions(layout);
    judge(scheme, layout, positions, {});
    resize_misalignment(scheme, layout);
    anyres_distances(scheme, layout, positions);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    EXPECT_LT(seconds, 1.0) << text;
    RecordProperty(text, fmt::format("{:.4f} s", seconds));
  }
}

}  // namespace
}  // namespace ropescope
