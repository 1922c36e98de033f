// The items that harnesses' own functions were run on, under every profile: prompt, what is read, score, what a judge would
// be asked about and what its replies come to; and every aggregate.
#include <map>

#include <gtest/gtest.h>

#include "ropescope/core/errors.h"
#include "ropescope/eval/benchmark.h"
#include "ropescope/eval/evaluation.h"
#include "ropescope/eval/reasoning.h"
#include "ropescope/eval/units.h"

#include "tests/eval/golden_items.h"

namespace ropescope::eval {
namespace {

struct HarnessRun {
  std::string benchmark, profile;
};

std::vector<HarnessRun> harness_runs() {
  std::vector<HarnessRun> runs;
  for (const char* name :
       {"hrbench_4k", "hrbench_8k", "vstar", "mmvp", "blink", "countbenchqa", "ocrbench", "infovqa",
        "mmbench_en_v11", "mmbench_cn_v11", "mathvista_mini", "mathvision_mini"}) {
    for (const Profile profile : profiles_of(find_benchmark(name)))
      runs.push_back({name, profile_name(profile)});
  }
  for (const char* name : {"mmbench", "mmstar", "realworldqa", "seedbench_2_plus", "pope", "mme", "ai2d",
                           "scienceqa_img", "docvqa", "chartqa", "textvqa", "mmmu_mc"}) {
    runs.push_back({name, "vlmevalkit"});
  }
  return runs;
}

/// {"items", "aggregates"} of a run; the items of lmms-eval's profiles have one `expected` for each.
Json golden_of(const HarnessRun& run) {
  const auto file = [](const std::string& name) {
    return testing::golden_json("evaluation/" + name + ".json");
  };
  if (run.profile == "vlmevalkit") {
    const Json all = file("vlmevalkit_profile").at("benchmarks");
    return all.contains(run.benchmark) ? all.at(run.benchmark) : file(run.benchmark).at("vlmevalkit");
  }
  Json golden = file(run.benchmark);
  for (Json& item : golden.at("items")) item["expected"] = Json(item.at("expected").at(run.profile));
  golden["aggregates"] = Json(golden.at("aggregates").at(run.profile));
  return golden;
}

void expect_reading(const Reading& reading, const Json& expected, const std::string& where) {
  EXPECT_NEAR(reading.score, expected.at("score").get<double>(), 1e-9) << where;
  if (expected.contains("extracted")) {
    EXPECT_EQ(reading.extracted, expected.at("extracted")) << where;
  }
  if (expected.contains("undecided")) {
    EXPECT_EQ(reading.undecided, expected.at("undecided").get<bool>()) << where;
  }
  if (expected.contains("processed")) {
    EXPECT_EQ(reading.processed.value_or(""), expected.at("processed").get<std::string>()) << where;
  }
}

/// The figure as its interval sees it: the weighted mean of the units that count.
double mean_of_units(const Benchmark& benchmark, const UnitScores& units) {
  std::map<std::string, Stratum> strata;
  for (const auto& [key, unit] : units) strata[unit.stratum].values.push_back(unit.value);
  double total = 0;
  for (const auto& [name, stratum] : strata) {
    auto* const weight = benchmark.units.weight;
    const double equal = 1.0 / static_cast<double>(strata.size());
    total += (weight != nullptr ? weight(name, strata.size()) : equal) * stratified_mean({stratum});
  }
  return total * benchmark.headline_scale;
}

class HarnessGolden : public ::testing::TestWithParam<HarnessRun> {};

TEST_P(HarnessGolden, EveryItemReplyAndAggregate) {
  const HarnessRun& run = GetParam();
  const Json golden = golden_of(run);
  Rules rules;
  rules.profile = parse_profile(run.profile);
  const Benchmark& benchmark = benchmark_under(find_benchmark(run.benchmark), rules.profile);
  const auto tally = benchmark.tally(rules);
  UnitCollector units(benchmark);
  int64_t record = 0;
  ASSERT_FALSE(golden.at("items").empty());
  for (const Json& item : golden.at("items")) {
    const Json doc = own_columns(benchmark, item.at("doc"));
    const std::string output = item.at("output");
    const std::string where =
        item.at("branch").get<std::string>() + " " + item.at("output").dump() + " " + doc.dump();
    EXPECT_EQ(benchmark.prompt(doc, rules), item.at("prompt")) << where;
    const Json& expected = item.at("expected");
    const Reading reading = benchmark.read(doc, output, rules);
    expect_reading(reading, expected, where);
    tally->add(doc, reading);
    units.add(++record, doc, reading.score);
    if (!expected.contains("judged")) continue;
    ASSERT_NE(benchmark.judge.read, nullptr);
    const std::string asked = benchmark.judge.question(doc, output, rules);
    EXPECT_NE(asked.find(output), std::string::npos);
    for (const Json& judged : expected.at("judged")) {
      const std::string reply = judged.at("reply");
      expect_reading(read_answer(benchmark, doc, output, rules, reply), judged, where + ", judge: " + reply);
    }
  }
  const Json aggregates = tally->aggregates();
  expect_close(aggregates, golden.at("aggregates"), "aggregates");
  // (one rotation of hrbench_8k lacks a category there, so its rotations do not weigh as their questions do)
  if (run.benchmark == "hrbench_8k" && run.profile == "vlmevalkit") return;
  const auto percent = headline_percent(benchmark, aggregates);
  ASSERT_TRUE(percent);
  EXPECT_NEAR(mean_of_units(benchmark, units.scores()), *percent, 1e-9);
  const Interval interval = figure_interval(benchmark, units.scores(), 1);
  EXPECT_LE(interval.low, *percent);
  EXPECT_GE(interval.high, *percent);
}

INSTANTIATE_TEST_SUITE_P(Eval, HarnessGolden, ::testing::ValuesIn(harness_runs()),
                         [](const auto& run) { return run.param.benchmark + "_" + run.param.profile; });

TEST(Profiles, WhatAHarnessLacksIsRefusedByName) {
  for (const char* name : {"vqav2", "mmniah", "order"}) {
    try {
      benchmark_under(find_benchmark(name), Profile::kVlmEvalKit);
      ADD_FAILURE() << name;
    } catch (const UsageError& error) {
      const std::string text = error.what();
      EXPECT_NE(text.find(name), std::string::npos) << text;
      EXPECT_NE(text.find("paper, current"), std::string::npos) << text;
    }
  }
  EXPECT_THROW(benchmark_under(find_benchmark("mmvp"), Profile::kPaper), UsageError);
  EXPECT_EQ(profiles_of(find_benchmark("mmvp")).front(), Profile::kCurrent);
  EXPECT_EQ(profiles_of(find_benchmark("mmstar")).front(), Profile::kPaper);
}

TEST(Profiles, OcrTokensAreRefusedWhereNoPromptHasThem) {
  Rules rules;
  rules.ocr_tokens = true;
  EXPECT_NO_THROW(check_rules(find_benchmark("textvqa"), rules));
  EXPECT_THROW(check_rules(find_benchmark("docvqa"), rules), UsageError);
  rules.profile = Profile::kVlmEvalKit;
  EXPECT_THROW(check_rules(find_benchmark("textvqa"), rules), UsageError);
}

TEST(Profiles, NamesOfTheHarnessesFindTheBenchmark) {
  EXPECT_EQ(find_benchmark("HRBench4K").name, "hrbench_4k");
  EXPECT_EQ(find_benchmark("vstar_bench").name, "vstar");
  EXPECT_EQ(find_benchmark("MathVista_MINI").name, "mathvista_mini");
  EXPECT_EQ(find_benchmark("infovqa_val").name, "infovqa");
}

}  // namespace
}  // namespace ropescope::eval
