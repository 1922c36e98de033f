// Differences between rows: pairs, intervals, exact tests and their correction; the files of curves.
#include "miniature/comparisons.h"

#include <cmath>
#include <regex>
#include <set>

#include <gtest/gtest.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"

#include "miniature/compression_table.h"
#include "tests/miniature/made_up_runs.h"
#include "tests/support/golden.h"
#include "tests/support/refusal.h"

namespace ropescope::miniature {
namespace {

/// `run` with a quarter of its tokens left.
Json fewer_tokens(Json run) {
  run["settings"]["compress"] = "pool-2";
  for (Json& one : run["curve"]) {
    for (const char* album : {"seen", "unseen"}) {
      for (const char* kind : {"tokens_left", "cells_left"}) one[album][kind] = {{"right", 1}, {"asked", 4}};
    }
  }
  return run;
}

std::vector<Row> rows_of(const std::vector<Json>& runs) {
  std::vector<miniature::Run> parsed;
  for (const Json& run : runs) parsed.push_back(parse_run(run, "a run"));
  return make_rows(parsed, {"vanilla", "id-align"});
}

TEST(Comparisons, PairSeedsOfASchemeWithAndWithoutIdAlign) {
  std::vector<Json> runs;
  // Seeds differ by 40 points, pairs by 9 to 11.
  for (const auto& [seed, base] : {std::pair{0, 20}, {1, 40}, {2, 60}}) {
    runs.push_back(answered_run("vanilla", seed, {30, base}));
    runs.push_back(answered_run("id-align", seed, {30, base + 9 + seed}));
    runs.push_back(answered_run("id-align+mrope", seed, {30, 50}));
  }
  runs.push_back(answered_run("id-align", 3, {30, 99}));  // no such seed without
  const std::vector<Row> rows = rows_of(runs);
  const std::vector<Comparison> comparisons = compare_rows(rows);
  ASSERT_EQ(comparisons.size(), 1U);
  EXPECT_DOUBLE_EQ(comparisons[0].differences[2].p, 0.25);  // two of eight choices of signs
  const std::string table = comparison_table(rows, comparisons);
  // 0.10, standard deviation 0.01: 4.302653 * 0.01 / sqrt(3) = 0.0248
  EXPECT_NE(
      table.find("| id-align − vanilla | 10⁴ | answers and cells | +0.00 [+0.00, +0.00] | +0.00 [+0.00, "
                 "+0.00] | +0.10 [+0.08, +0.12] | +0.10 [+0.08, +0.12] | 3 |"),
      std::string::npos)
      << table;
  EXPECT_EQ(table.find("mrope"), std::string::npos) << table;
  EXPECT_NE(
      table.find(
          "Not resolved: id-align − vanilla at θ 10⁴ (4 of 4). Seeds in common: 3; it takes 6 before anything could be."),
      std::string::npos)
      << table;
}

TEST(Comparisons, AreResolvedAfterTheCorrectionOnly) {
  std::vector<Json> runs;
  for (int64_t seed = 0; seed < 8; ++seed) {
    runs.push_back(answered_run("vanilla", seed, {30 + seed}));
    runs.push_back(answered_run("id-align", seed, {60 + seed}));  // always higher
    // Higher in seven of eight: 0.5 in the eighth choice's neighbourhood, but not after the correction.
    runs.push_back(answered_run("v2pe:delta=0.5", seed, {30 + seed + (seed == 0 ? -1 : 1)}));
    runs.push_back(answered_run("id-align+v2pe:delta=0.5", seed, {60 + seed}));
  }
  Json wrong = answered_run("id-align", 0, {70});
  wrong["settings"]["map"] = "shift-1";
  runs.push_back(wrong);
  const std::vector<Row> rows = rows_of(runs);
  const std::vector<Comparison> comparisons = compare_rows(rows, "vanilla");
  ASSERT_EQ(comparisons.size(), 4U);
  for (const Comparison& comparison : comparisons) {
    const Row& with = rows[comparison.with];
    const Difference& difference = comparison.differences[2];
    if (!with.map.empty()) {
      EXPECT_EQ(rows[comparison.without].scheme, "id-align");
      EXPECT_EQ(difference.p, 1.0);  // one seed
      EXPECT_TRUE(std::isnan(difference.interval.ci95_low));
    } else if (with.scheme == "v2pe:delta=0.5") {
      EXPECT_DOUBLE_EQ(difference.p, 2.0 * 9 / 256);  // at most one of the other sign
      EXPECT_DOUBLE_EQ(difference.adjusted, 2 * 2.0 * 9 / 256);
      EXPECT_FALSE(difference.resolved());
    } else {
      EXPECT_DOUBLE_EQ(difference.p, 2.0 / 256);
      EXPECT_DOUBLE_EQ(difference.adjusted, with.scheme == "id-align" ? 4 * 2.0 / 256 : 4 * 2.0 / 256);
      EXPECT_TRUE(difference.resolved());
    }
  }
  EXPECT_NE(comparison_table(rows, comparisons).find("(Holm) for the 4 comparisons of a measure"),
            std::string::npos);
  const std::string csv = comparison_csv(rows, comparisons);
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 1 + 4 * 4);
  EXPECT_NE(
      csv.find(
          "\"id-align\",\"shift-1\",\"\",\"id-align\",\"\",\"\",10000,1,answers_seen,1,0.10000,nan,nan,1.000000,1.000000,0,\n"),
      std::string::npos)
      << csv;
}

// Each pair once, in one direction: twice, it would make the correction stricter than there are comparisons.
TEST(Comparisons, CountABaselineWithIdAlignOnce) {
  std::vector<Json> runs;
  for (int64_t seed = 0; seed < 3; ++seed) {
    runs.push_back(answered_run("vanilla", seed, {30}));
    runs.push_back(answered_run("id-align", seed, {60}));
    runs.push_back(answered_run("rope-dhr", seed, {50}));
  }
  const std::vector<Row> rows = rows_of(runs);
  std::vector<std::string> pairs;
  for (const Comparison& comparison : compare_rows(rows, "id-align"))
    pairs.push_back(rows[comparison.with].scheme + " - " + rows[comparison.without].scheme);
  EXPECT_EQ(pairs, (std::vector<std::string>{"id-align - vanilla", "rope-dhr - id-align"}));
}

// Of compressed pictures a measure may be asked of no token: it is no difference, and is not corrected for.
TEST(Comparisons, OfCompressedPictures) {
  std::vector<Json> runs;
  for (int64_t seed = 0; seed < 6; ++seed) {
    for (const auto& [scheme, compress, merged_id, answers] : {std::tuple{"vanilla", "", "", 40},
                                                               {"id-align", "", "", 90},
                                                               {"vanilla", "pool-4", "", 40},
                                                               {"id-align", "pool-4", "", 60},
                                                               {"id-align", "pool-4", "mean", 70}}) {
      Json run = answered_run(scheme, seed, {30, answers});
      if (*compress != 0) {
        run["settings"]["compress"] = compress;
        run["settings"]["merged_id"] = *merged_id == 0 ? "cell" : merged_id;
        for (Json& one : run["curve"]) {
          for (const char* album : {"seen", "unseen"}) {
            one[album]["correspondence"] = {{"right", 0}, {"asked", 0}};
            one[album]["tokens_left"] = {{"right", 4}, {"asked", 64}};
            one[album]["cells_left"] = {{"right", 0}, {"asked", 16}};
          }
        }
      }
      runs.push_back(run);
    }
  }
  const std::vector<Row> rows = rows_of(runs);
  ASSERT_EQ(rows.size(), 5U);
  const std::vector<Comparison> comparisons = compare_rows(rows);
  std::vector<std::string> pairs;
  for (const Comparison& comparison : comparisons) {
    pairs.push_back(rows[comparison.with].scheme + detail_of(rows[comparison.with]) + " - " +
                    rows[comparison.without].scheme + detail_of(rows[comparison.without]));
    const bool whole = rows[comparison.with].compress.empty();
    EXPECT_EQ(comparison.differences[0].values.size(), whole ? 6U : 0U);
    EXPECT_DOUBLE_EQ(comparison.differences[0].adjusted, 1.0);  // no difference, or none asked
    EXPECT_DOUBLE_EQ(comparison.differences[2].adjusted, 3 * 2.0 / 64);
  }
  EXPECT_EQ(pairs, (std::vector<std::string>{"id-align - vanilla", "id-align (pool-4) - vanilla (pool-4)",
                                             "id-align (pool-4, mean) - id-align (pool-4)"}));
  const std::string table = comparison_table(rows, comparisons);
  EXPECT_NE(table.find("| id-align (pool-4) − vanilla (pool-4) | 10⁴ | answers and cells | — | — | +0.20 ["),
            std::string::npos)
      << table;
  EXPECT_NE(table.find("(2 of 2)"), std::string::npos) << table;
  const std::string left = compression_csv(rows);
  EXPECT_EQ(std::count(left.begin(), left.end(), '\n'), 1 + 3 * 6);
  EXPECT_NE(left.find("\"id-align\",\"\",\"pool-4, mean\",10000,,1,5,0.06250,0.06250,0.00000,0.00000\n"),
            std::string::npos)
      << left;
  EXPECT_NE(table.find("(Holm) for at most 3 comparisons of a measure"), std::string::npos) << table;
  Json odd = runs.back();
  odd["settings"]["compress"] = "pool-1";
  EXPECT_THROW(parse_run(odd, "x.json"), InputError);
}

// A curve over the share of tokens left joins runs of one kind: none that are scaled or longer, none of another theta.
TEST(Compression, IsDrawnOfRowsOfOneKind) {
  const testing::TemporaryFolder folder;
  std::vector<Json> runs = {answered_run("vanilla", 0, {40}), fewer_tokens(answered_run("vanilla", 0, {30}))};
  draw_compression(folder.path("alone.svg"), rows_of(runs), 1e4);
  Json scaled = fewer_tokens(answered_run("vanilla", 0, {90})), longer = scaled;
  scaled["scaling"] = {{"rope_type", "yarn"}, {"factor", 4.0}};
  longer["settings"]["steps"] = 1000;
  runs.insert(runs.end(), {scaled, longer});
  draw_compression(folder.path("beside.svg"), rows_of(runs), 1e4);
  EXPECT_EQ(read_file(folder.path("beside.svg")), read_file(folder.path("alone.svg")));
  draw_compression(folder.path("none.svg"), rows_of(runs), 1e5);
  EXPECT_FALSE(std::filesystem::exists(folder.path("none.svg")));
}

// Wherever ID-Align stands in a scheme's name: solid, in the colour of the scheme that it was added to, which is dashed.
TEST(Table, DrawsIdAlignOnDipeAsOnMrope) {
  const testing::TemporaryFolder folder;
  const auto dashes_and_colours = [&](const std::string& base, const std::string& aligned, bool fewer) {
    const std::string file = folder.path(base + (fewer ? "-fewer.svg" : ".svg"));
    std::vector<Json> runs;
    for (const std::string& scheme : {base, aligned}) {
      runs.push_back(answered_run(scheme, 0, {30, 40}));
      if (fewer) runs.push_back(fewer_tokens(answered_run(scheme, 0, {30, 35})));
    }
    if (fewer) {
      draw_compression(file, rows_of(runs), 1e4);
    } else {
      draw_rows(file, rows_of(runs), 1e4);
    }
    const std::string drawn = read_file(file), dash = "stroke-dasharray";
    const std::regex colour("rgb\\([ 0-9,]*\\)");
    std::set<std::string> colours;
    for (std::sregex_iterator at(drawn.begin(), drawn.end(), colour), end; at != end; ++at) {
      // gnuplot's own first colour, named before a solid curve comes, draws nothing.
      if (at->str() != "rgb(148,   0, 211)") colours.insert(at->str());
    }
    size_t dashes = 0;
    for (size_t at = drawn.find(dash); at != std::string::npos; at = drawn.find(dash, at + 1)) ++dashes;
    return std::pair(dashes, colours);
  };
  for (const bool fewer : {false, true}) {
    const auto mrope = dashes_and_colours("mrope", "id-align+mrope", fewer);
    EXPECT_GT(mrope.first, 0U);
    EXPECT_EQ(dashes_and_colours("dipe", "dipe+id-align", fewer), mrope) << fewer;
  }
}

TEST(Comparisons, LeaveRowsOfOtherLengthsApart) {
  Json longer = answered_run("id-align", 0, {30, 90});
  longer["settings"]["steps"] = 1000;
  const std::vector<Row> rows =
      rows_of({answered_run("vanilla", 0, {30, 40}), answered_run("id-align", 0, {30, 80}), longer});
  ASSERT_EQ(rows.size(), 3U);
  EXPECT_EQ(compare_rows(rows).size(), 1U);
}

TEST(Table, WritesEveryPointOfEveryRun) {
  const std::vector<Row> rows = rows_of({answered_run("vanilla", 4, {30, 41})});
  const std::string csv = runs_csv(rows);
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 1 + 2);
  EXPECT_EQ(
      csv.find(
          "order,task,side,glyphs,finer,scheme,map,compress,theta,scaling,correspondence_weight,seed,planned_steps,step,"
          "correspondence_seen_right,correspondence_seen_asked,correspondence_unseen_right,correspondence_unseen_asked,"
          "answers_seen_right,answers_seen_asked,answers_unseen_right,answers_unseen_asked,thumbnail_patch\n"),
      0U)
      << csv;
  EXPECT_NE(
      csv.find(
          "\nllava-next,place,4,4,1,\"vanilla\",\"\",\"\",10000,,1,4,100,25,50,100,50,100,41,100,41,100,8\n"),
      std::string::npos)
      << csv;
}

TEST(Table, TellsPatchSizesApart) {
  Json run = answered_run("vanilla", 4, {30});
  run["order"] = "native";
  run["world"] = {{"thumbnail_patch", 16}};
  EXPECT_NE(runs_csv(rows_of({run})).find(",30,100,30,100,16\n"), std::string::npos);
}

// One run under two names, as of --thetas '1e5 100000', is no second seed.
TEST(Table, RefusesTwoRunsOfOneSeed) {
  const Json once = fewer_tokens(answered_run("id-align", 3, {10}));
  Json again = once;
  again["settings"]["merged_id"] = "cell";
  const std::string refused = testing::refusal_of([&] { rows_of({once, again}); });
  EXPECT_NE(refused.find("expected one of id-align (pool-2) at theta 10⁴ with seed 3, found two"),
            std::string::npos)
      << refused;
  again["settings"]["seed"] = 4;
  EXPECT_EQ(rows_of({once, again}).size(), 1U);
}

TEST(Table, RefusesRunsOverPicturesOfDifferentKinds) {
  Json harder = answered_run("id-align", 0, {10});
  harder["world"] = {{"side", 8}};
  EXPECT_THROW(rows_of({answered_run("vanilla", 0, {10}), harder}), InputError);
  harder["world"] = {{"side", 5}};
  EXPECT_THROW(parse_run(harder, "x.json"), InputError);
}

}  // namespace
}  // namespace ropescope::miniature
