// Whether gains add up: by hand, seed by seed, and never across other settings.
#include "miniature/interactions.h"

#include <gtest/gtest.h>

#include "tests/miniature/made_up_runs.h"

namespace ropescope::miniature {
namespace {

std::vector<Row> rows_of_answers(const std::vector<Json>& runs) {
  std::vector<miniature::Run> parsed;
  for (const Json& run : runs) parsed.push_back(parse_run(run, "a run"));
  return make_rows(parsed, {"vanilla", "id-align"});
}

TEST(Interactions, AreTheGainThereMinusTheGainOnPlainPositions) {
  std::vector<Json> runs;
  for (const int64_t seed : {0, 1, 2, 3, 4, 5, 6, 7}) {
    runs.push_back(answered_run("vanilla", seed, {20 + seed}));
    runs.push_back(answered_run("id-align", seed, {50 + 2 * seed}));  // gains 30 + seed
    runs.push_back(answered_run("mrope", seed, {30}));
    runs.push_back(answered_run("id-align+mrope", seed, {40 + seed}));  // 10 + seed: 20 less in every seed
    runs.push_back(answered_run("dipe", seed, {10}));
    runs.push_back(answered_run("dipe+id-align", seed, {40 + seed}));  // as much as on plain positions
  }
  runs.push_back(answered_run("dipe", 0, {10}, 1e6));
  runs.push_back(answered_run("dipe+id-align", 0, {99}, 1e6));  // nothing plain at this theta
  const std::vector<Row> rows = rows_of_answers(runs);
  const std::vector<Comparison> comparisons = compare_rows(rows);
  const std::vector<Interaction> found = interactions(rows, comparisons);
  ASSERT_EQ(found.size(), 2U);
  for (const Interaction& interaction : found) {
    const bool dipe = rows[comparisons[interaction.comparison].without].scheme == "dipe";
    const Difference& answers = interaction.differences[2];
    ASSERT_EQ(answers.values.size(), 8U);
    for (const double value : answers.values) EXPECT_NEAR(value, dipe ? 0.0 : -0.2, 1e-12);
    EXPECT_EQ(answers.resolved(), !dipe);
  }
  const std::string table = interaction_table(rows, comparisons, found);
  EXPECT_NE(
      table.find("| mrope | 10⁴ | +0.00 [+0.00, +0.00] | +0.00 [+0.00, +0.00] | -0.20 [-0.20, -0.20] * |"),
      std::string::npos)
      << table;
  EXPECT_NE(interaction_csv(rows, comparisons, found).find("\"dipe\",10000,"), std::string::npos);
}

/// Made fewer so that no token lies in one cell, but of seed 1.
Json compressed_run(const std::string& scheme, int64_t seed, int64_t answers, int64_t correspondence) {
  Json run = answered_run(scheme, seed, {answers});
  run["settings"]["compress"] = "pool-4";
  for (const char* album : {"seen", "unseen"}) {
    Json& scores = run["curve"][0][album];
    scores["correspondence"] = {{"right", seed == 1 ? correspondence : 0}, {"asked", seed == 1 ? 10 : 0}};
    scores["tokens_left"] = {{"right", 1}, {"asked", 16}};
    scores["cells_left"] = {{"right", 1}, {"asked", 16}};
  }
  return run;
}

TEST(Interactions, StayWithinOneCompressionAndSkipWhatIsNotAsked) {
  std::vector<Json> runs;
  for (const int64_t seed : {0, 1, 2}) {
    runs.push_back(answered_run("vanilla", seed, {10}));
    runs.push_back(answered_run("id-align", seed, {90}));  // +80 where nothing is left out
    runs.push_back(answered_run("id-align+mrope", seed, {99}));
    runs.push_back(compressed_run("vanilla", seed, 20, 2));
    runs.push_back(compressed_run("id-align", seed, 50, 7));  // +30 and, of seed 1, +0.5
    runs.push_back(compressed_run("mrope", seed, 30, 1));
    runs.push_back(compressed_run("id-align+mrope", seed, 40, 4));  // +10 and +0.3
  }
  const std::vector<Row> rows = rows_of_answers(runs);
  const std::vector<Comparison> comparisons = compare_rows(rows);
  const std::vector<Interaction> found = interactions(rows, comparisons);
  ASSERT_EQ(found.size(), 1U);
  ASSERT_EQ(found[0].differences[2].values.size(), 3U);
  for (const double value : found[0].differences[2].values) EXPECT_NEAR(value, -0.2, 1e-12);
  ASSERT_EQ(found[0].differences[0].seeds, std::vector<int64_t>{1});
  EXPECT_NEAR(found[0].differences[0].values[0], -0.2, 1e-12);
  const std::string table = interaction_table(rows, comparisons, found);
  EXPECT_NE(table.find("| mrope (pool-4) | 10⁴ | -0.20 | -0.20 | -0.20 [-0.20, -0.20] |"), std::string::npos)
      << table;
  EXPECT_NE(interaction_csv(rows, comparisons, found).find(",answers_seen,3,-0.20000,"), std::string::npos);
}

TEST(Interactions, AreNoneWithoutPlainPositions) {
  const std::vector<Row> rows =
      rows_of_answers({answered_run("mrope", 0, {30}), answered_run("id-align+mrope", 0, {60})});
  const std::vector<Comparison> comparisons = compare_rows(rows);
  ASSERT_EQ(comparisons.size(), 1U);
  EXPECT_TRUE(interactions(rows, comparisons).empty());
  EXPECT_EQ(interaction_table(rows, comparisons, {}), "");
}

TEST(Comparisons, FindIdAlignWhereverItStands) {
  EXPECT_EQ(without_alignment("id-align"), "vanilla");
  EXPECT_EQ(without_alignment("id-align:resize=bilinear"), "vanilla");
  EXPECT_EQ(without_alignment("id-align+mrope:sections=4/6/6"), "mrope:sections=4/6/6");
  EXPECT_EQ(without_alignment("dipe+id-align"), "dipe");
  EXPECT_EQ(without_alignment("dipe"), "");
}

}  // namespace
}  // namespace ropescope::miniature
