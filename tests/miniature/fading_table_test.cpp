// Tables of fading: who is compared with whom, counts, refusals.
#include "miniature/fading_table.h"

#include <cmath>

#include <gtest/gtest.h>

#include "ropescope/core/errors.h"

#include "miniature/table.h"
#include "tests/miniature/made_up_runs.h"
#include "tests/support/refusal.h"

namespace ropescope::miniature {
namespace {

Json fading_run(const std::string& scheme, int64_t seed, const std::vector<int64_t>& right) {
  Json points = Json::array();
  const std::vector<int64_t> lengths = {0, 64, 256};
  for (size_t i = 0; i < lengths.size(); ++i) {
    points.push_back({{"length", lengths[i]},
                      {"answers", {{"right", right[i]}, {"asked", 100}}},
                      {"visual_share", 0.5},
                      {"pictures", 10}});
  }
  Json run = made_up_run(scheme, seed, {{100, scores_of({1, 2}, {1, 2})}});
  run["settings"]["distractor_lengths"] = {0, 32};
  run["fading"] = {{"seen", points}, {"unseen", points}};
  return run;
}

FadingTable table_of(const std::vector<Json>& runs) {
  std::vector<FadingRun> parsed;
  for (const Json& run : runs) parsed.push_back(*parse_fading_run(run, "a run"));
  return make_fading_table(parsed, {"vanilla", "id-align"});
}

TEST(FadingTable, MeansDifferencesAndCrossings) {
  std::vector<Json> runs;
  for (const int64_t seed : {0, 1, 2}) {
    runs.push_back(fading_run("id-align", seed, {100 - seed, 80, 20}));
    runs.push_back(fading_run("vanilla", seed, {50, 50, 40}));
    runs.push_back(fading_run("dipe+vanilla", seed, {50, 49, 48 + seed}));
  }
  const FadingTable table = table_of(runs);
  ASSERT_EQ(table.rows.size(), 3U);
  EXPECT_EQ(table.rows[0].scheme, "vanilla");
  EXPECT_EQ(table.rows[2].scheme, "dipe+vanilla");
  EXPECT_EQ(table.plan.trained, (std::vector<int64_t>{0, 32}));
  EXPECT_NEAR(table.rows[1].intervals[0][0].mean, 0.99, 1e-12);
  // t(0.975, 2) = 4.302653, standard error 0.01 / sqrt(3)
  EXPECT_NEAR(table.rows[1].intervals[0][0].ci95_high, 0.99 + 4.302653 * 0.01 / std::sqrt(3.0), 1e-6);
  const std::vector<FadingComparison> comparisons = compare_fading(table, "id-align");
  ASSERT_EQ(comparisons.size(), 3U);  // vanilla and dipe+vanilla with id-align, dipe+vanilla with vanilla
  EXPECT_EQ(comparisons[0].with, 0U);
  EXPECT_EQ(comparisons[0].without, 1U);
  EXPECT_NEAR(comparisons[0].differences[0][2].interval.mean, 0.20, 1e-12);
  EXPECT_DOUBLE_EQ(comparisons[0].differences[0][2].p, 0.25);
  EXPECT_DOUBLE_EQ(comparisons[0].differences[0][2].adjusted, 0.75);
  // Behind by 0.3 at 64, ahead by 0.2 at 256.
  const CrossingSummary crossing = summarise(comparisons[0].crossings[0]);
  EXPECT_EQ(crossing.rising, 3);
  EXPECT_NEAR(crossing.length.mean, 65 * std::pow(257.0 / 65, 0.6) - 1, 1e-9);
  EXPECT_EQ(crossing_text(crossing), "ahead from 147 [147, 147] (3 of 3 seeds)");
  // Equal up to 64 (0.01), then ahead by 0.08, 0.09, 0.10: the lead passes 0.05 at 4/7, 4/8, 4/9 of the way.
  const CrossingSummary apart = summarise(comparisons[2].crossings[1]);
  EXPECT_EQ(apart.from_tie, 3);
  EXPECT_NEAR(apart.length.mean, 65 * std::pow(257.0 / 65, (4.0 / 7 + 4.0 / 8 + 4.0 / 9) / 3) - 1, 1e-9);
  EXPECT_NE(crossing_text(apart).find("(3 of 3 seeds, 3 of them equal before)"), std::string::npos);
  CrossingSummary none;
  none.seeds = 3;
  EXPECT_EQ(crossing_text(none), "none (0 of 3 seeds)");
  EXPECT_EQ(ids_alone("dipe+id-align+vanilla"), "id-align");
  EXPECT_EQ(ids_alone("dipe+vanilla"), "vanilla");
  EXPECT_EQ(ids_alone("dipe"), "dipe");
  EXPECT_EQ(ids_alone("dipe+id-align"), "id-align+mrope");
  EXPECT_EQ(ids_alone("dipe+id-align:resize=bilinear"), "id-align:resize=bilinear+mrope");
  EXPECT_EQ(ids_alone("dipe+id-align+mrope-interleave"), "id-align+mrope-interleave");
  const std::string markdown = fading_markdown(table, comparisons);
  EXPECT_NE(markdown.find("| dipe+vanilla − vanilla | +0.00 [+0.00, +0.00] | -0.01 "), std::string::npos)
      << markdown;
  EXPECT_NE(markdown.find("with 0, 32 tokens"), std::string::npos);
  EXPECT_EQ(length_text(64), "64");
  EXPECT_EQ(length_text(8192), "8K");
}

TEST(FadingTable, CountsABaselineUnderDipeOnce) {
  const FadingTable table =
      table_of({fading_run("vanilla", 0, {1, 2, 3}), fading_run("id-align", 0, {1, 2, 3}),
                fading_run("dipe+vanilla", 0, {1, 2, 3})});
  std::vector<std::string> pairs;
  for (const FadingComparison& comparison : compare_fading(table, "dipe+vanilla"))
    pairs.push_back(table.rows[comparison.with].scheme + " - " + table.rows[comparison.without].scheme);
  EXPECT_EQ(pairs, (std::vector<std::string>{"id-align - dipe+vanilla", "dipe+vanilla - vanilla"}));
}

// The longest sequence of 105 tokens has up to 32 of text in it.
TEST(FadingTable, CountsTheTextOfTheLongestSequence) {
  EXPECT_EQ(parse_run(fading_run("vanilla", 0, {1, 2, 3}), "a run").longest, 105 + 32);
}

// Ids that were made wrong are no more seeds of the right ones.
TEST(FadingTable, KeepsWrongMapsApart) {
  Json wrong = fading_run("id-align", 1, {40, 40, 40});
  wrong["settings"]["map"] = "mirror";
  const FadingTable table = table_of({fading_run("id-align", 0, {90, 90, 90}), wrong});
  ASSERT_EQ(table.rows.size(), 2U);
  EXPECT_EQ(table.rows[0].scheme, "id-align");
  EXPECT_EQ(table.rows[1].scheme, "id-align (mirror)");
  EXPECT_EQ(table.rows[0].runs.size(), 1U);
}

TEST(FadingTable, RefusesWhatDoesNotBelongTogether) {
  EXPECT_FALSE(parse_fading_run({{"format", "ropescope-miniature"}}, "a run"));
  EXPECT_THROW(parse_fading_run(Json::object(), "a run"), InputError);
  const Json run = fading_run("vanilla", 0, {1, 2, 3});
  Json other = fading_run("vanilla", 1, {1, 2, 3});
  other["settings"]["steps"] = 200;
  EXPECT_NE(testing::refusal_of([&] { table_of({run, other}); }).find("differ"), std::string::npos);
  EXPECT_NE(testing::refusal_of([&] { table_of({run, run}); }).find("found two"), std::string::npos);
  other = fading_run("vanilla", 1, {1, 2, 3});
  other["scaling"] = {{"rope_type", "yarn"}, {"factor", 4.0}};
  EXPECT_NE(testing::refusal_of([&] { table_of({run, other}); }).find("scaling"), std::string::npos);
  for (const auto& [key, value] : {std::pair<const char*, Json>{"answers", {{"right", 5}, {"asked", 4}}},
                                   {"length", 10000},
                                   {"pictures", 9}}) {
    Json odd = run;
    odd["fading"]["seen"][1][key] = value;
    EXPECT_THROW(parse_fading_run(odd, "a run"), InputError) << key;
  }
  Json half = run;
  half["fading"].erase("unseen");
  EXPECT_THROW(parse_fading_run(half, "a run"), InputError);
}

}  // namespace
}  // namespace ropescope::miniature
