// The papers' figures, intervals, comparisons of runs.
#include "ropescope/eval/report.h"

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/core/errors.h"
#include "ropescope/eval/evaluation.h"

#include "tests/support/golden.h"

namespace ropescope::eval {
namespace {

using ::testing::HasSubstr;
using testing::TemporaryFolder;

Json our_tables() { return read_json_file(std::string(RS_SOURCE_DIR) + "/data/paper_tables.json"); }

TEST(PaperTables, AreTheGoldenOnes) {
  const Json golden = testing::golden_json("evaluation/paper_tables.json"), ours = our_tables();
  EXPECT_EQ(ours.at("tables"), golden.at("tables"));
  EXPECT_EQ(ours.at("derived_counts"), golden.at("derived_counts"));
}

TEST(Intervals, KnownValues) {
  // Newcombe 1998, table I: 81 of 263 and 0 of 20.
  EXPECT_NEAR(wilson_interval(81, 263).low, 0.2553, 5e-5);
  EXPECT_NEAR(wilson_interval(81, 263).high, 0.3662, 5e-5);
  EXPECT_NEAR(wilson_interval(0, 20).low, 0, 1e-12);
  EXPECT_NEAR(wilson_interval(0, 20).high, 0.1611, 5e-5);
  // 2 * sum_{k<=2} C(12, k) / 2^12
  EXPECT_NEAR(mcnemar_exact(10, 2), 2.0 * (1 + 12 + 66) / 4096, 1e-12);
  EXPECT_EQ(mcnemar_exact(3, 3), 1);
  EXPECT_EQ(mcnemar_exact(0, 0), 1);
}

TEST(Intervals, BootstrapOfAMeanIsThatOfTheNormal) {
  Stratum stratum;
  for (int i = 0; i < 400; ++i) stratum.values.push_back(i % 4 == 0 ? 1 : 0);
  const Interval interval = bootstrap_interval({stratum}, 1);
  const double half = 1.96 * std::sqrt(0.25 * 0.75 / 400);
  EXPECT_NEAR(interval.low, 0.25 - half, 0.01);
  EXPECT_NEAR(interval.high, 0.25 + half, 0.01);
  EXPECT_EQ(bootstrap_interval({stratum}, 1).low, interval.low);  // the seed decides
}

/// A finished run of a golden file's items.
void write_run(const std::string& folder, const std::string& name, const std::string& scheme,
               const std::vector<std::string>& outputs) {
  const Json golden = testing::golden_json("evaluation/" + name + ".json");
  const Benchmark& benchmark = find_benchmark(name);
  std::filesystem::create_directories(folder);
  {
    Samples samples(folder + "/samples.jsonl", false);
    for (size_t i = 0; i < golden.at("items").size(); ++i) {
      const Json& item = golden.at("items")[i];
      const Answer answer{
          outputs.empty() ? item.at("output").get<std::string>() : outputs[i % outputs.size()], 1, ""};
      samples.append(make_sample(benchmark, {}, static_cast<int64_t>(i) + 1, item.at("doc"),
                                 {static_cast<int64_t>(i), item.at("prompt"), {}, 0}, answer));
    }
  }
  const Scores scores = score_samples(folder + "/samples.jsonl", benchmark, {});
  const Json summary = {{"benchmark", name},
                        {"model", "tiny"},
                        {"scheme", scheme},
                        {"profile", "paper"},
                        {"policy", "exact"},
                        {"data_sha256", "x"},
                        {"whole_file", true},
                        {"items", scores.items},
                        {"failed", 0},
                        {"limit", 0},
                        {"aggregates", scores.aggregates}};
  std::ofstream(folder + "/summary.json") << summary.dump();
}

TEST(Report, TheWeightedUnitsAreTheFigure) {
  const TemporaryFolder folder;
  for (const char* name : {"mmbench", "mmstar", "mme", "pope", "vqav2", "refcoco_rec", "ai2d"}) {
    write_run(folder.path(name), name, "vanilla", {});
    const ResultRun run = read_run(folder.path(name), 0);
    const auto figure = figure_of(run, 0);
    ASSERT_TRUE(figure) << name;
    std::map<std::string, Stratum> strata;
    for (const auto& [key, unit] : run.units) strata[unit.stratum].values.push_back(unit.value);
    double total = 0;
    for (const auto& [stratum, values] : strata) {
      const auto* benchmark = run.benchmark;
      const double weight = benchmark->units.weight != nullptr
                                ? benchmark->units.weight(stratum, strata.size())
                                : 1.0 / static_cast<double>(strata.size());
      total += weight * stratified_mean({values});
    }
    EXPECT_NEAR(total * run.benchmark->headline_scale, figure->percent, 1e-9) << name;
    EXPECT_LE(figure->interval.low, figure->percent) << name;
    EXPECT_GE(figure->interval.high, figure->percent) << name;
  }
}

TEST(Report, PaperAndMeasured) {
  const TemporaryFolder folder;
  write_run(folder.path("a"), "ai2d", "vanilla", {"A", "B"});
  write_run(folder.path("b"), "ai2d", "id-align", {});
  const Report report =
      make_report({read_run(folder.path("a"), 10), read_run(folder.path("b"), 10)}, our_tables(), {}, 0);
  int measured = 0;
  for (const ReportRow& row : report.rows) {
    measured += row.measured ? 1 : 0;
    EXPECT_TRUE(!row.measured || row.column == "AI2D");
    if (row.column == "MMBench_dev" && row.model.rfind("Qwen", 0) == 0) {
      EXPECT_THAT(row.why, HasSubstr("test split"));
    }
  }
  EXPECT_EQ(measured, 5);  // both methods of two models in table 1, ID-Align in table 3
  ASSERT_EQ(report.comparisons.size(), 1u);
  const Comparison& pair = report.comparisons[0];
  EXPECT_EQ(pair.units, 84);
  EXPECT_NEAR(pair.difference, 100.0 / 84 * static_cast<double>(*pair.only_b - *pair.only_a), 1e-9);
  EXPECT_LE(pair.interval.low, pair.difference);
  EXPECT_GE(pair.interval.high, pair.difference);
  EXPECT_NEAR(*pair.p, mcnemar_exact(*pair.only_a, *pair.only_b), 1e-12);
  EXPECT_THAT(report_markdown(report), HasSubstr("| AI2D | 65.74 |"));
  EXPECT_THAT(report_csv(report), HasSubstr("001:1,"));
  EXPECT_THROW(make_report({}, our_tables(), {"009:1"}, 0), UsageError);
}

TEST(Report, ThePageHoldsItsItemsAndNoForeignMarkup) {
  const TemporaryFolder folder;
  write_run(folder.path("a"), "pope", "vanilla", {"</script><script>alert(1)</script>"});
  const std::string page = report_html(make_report({read_run(folder.path("a"), 1000)}, our_tables(), {}, 0));
  EXPECT_EQ(page.find("<script>alert"), std::string::npos);
  EXPECT_THAT(page, HasSubstr("alert(1)"));
  EXPECT_EQ(page.find("src="), std::string::npos);
  EXPECT_EQ(page.find("href="), std::string::npos);
}

}  // namespace
}  // namespace ropescope::eval
