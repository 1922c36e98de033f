// Every item of the golden files: prompt, what is read, score; every aggregate.
#include <gtest/gtest.h>

#include "ropescope/eval/benchmark.h"

#include "tests/eval/golden_items.h"

namespace ropescope::eval {
namespace {

class GoldenScores : public ::testing::TestWithParam<GoldenRun> {};

TEST_P(GoldenScores, EveryItemAndAggregate) {
  const GoldenRun& run = GetParam();
  const Json golden = testing::golden_json("evaluation/" + run.benchmark + ".json");
  const Benchmark& benchmark = find_benchmark(run.benchmark);
  Rules rules;
  rules.profile = parse_profile(run.profile);
  rules.policy = parse_policy(run.policy);
  const auto tally = benchmark.tally(rules);
  ASSERT_FALSE(golden.at("items").empty());
  for (const Json& item : golden.at("items")) {
    const Json doc = golden_doc(item);
    const Reading reading = benchmark.read(doc, item.at("output"), rules);
    Json actual = {
        {"prompt", benchmark.prompt(doc, rules)}, {"extracted", reading.extracted}, {"score", reading.score}};
    if (reading.processed) actual["processed"] = *reading.processed;
    expect_item(actual, item, run);
    tally->add(doc, reading);
  }
  expect_close(tally->aggregates(), golden_aggregates(golden, run), "aggregates");
}

INSTANTIATE_TEST_SUITE_P(Eval, GoldenScores, ::testing::ValuesIn(golden_runs()),
                         [](const auto& run) { return run.param.name(); });

}  // namespace
}  // namespace ropescope::eval
