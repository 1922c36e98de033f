// Every golden file through the command line.
#include <fstream>
#include <set>

#include <gtest/gtest.h>

#include "ropescope/eval/benchmark.h"

#include "tests/eval/golden_items.h"
#include "tests/eval/golden_tables.h"

namespace ropescope::eval {
namespace {

using testing::CommandResult;
using testing::golden_path;
using testing::json_lines;
using testing::run_ropescope;
using testing::TemporaryFolder;

class ScoreCommand : public ::testing::TestWithParam<GoldenRun> {};

TEST_P(ScoreCommand, EveryItemAndAggregate) {
  const GoldenRun& run = GetParam();
  const Json golden = testing::golden_json("evaluation/" + run.benchmark + ".json");
  const TemporaryFolder folder;
  std::ofstream file(folder.path("items.jsonl"));
  for (const Json& item : golden.at("items")) {
    file << Json{{"doc", golden_doc(item)}, {"output", item.at("output")}}.dump() << "\n";
  }
  file.close();
  const CommandResult result =
      run_ropescope("score --benchmark " + run.benchmark + " --items " + folder.path("items.jsonl") +
                    " --profile " + run.profile + " --policy " + run.policy + " --json");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const std::vector<Json> lines = json_lines(result.out);
  ASSERT_EQ(lines.size(), golden.at("items").size() + 1);
  for (size_t i = 0; i + 1 < lines.size(); ++i) expect_item(lines[i], golden.at("items")[i], run);
  expect_close(lines.back().at("aggregates"), golden_aggregates(golden, run), "aggregates");
}

INSTANTIATE_TEST_SUITE_P(Cli, ScoreCommand, ::testing::ValuesIn(golden_runs()),
                         [](const auto& run) { return run.param.name(); });

TEST(ScoreCommandLine, BenchmarkFiles) {
  const Json golden = testing::golden_json("evaluation/mmbench_tsv.json");
  for (const auto& [name, expected] : golden.at("files").items()) {
    const CommandResult result = run_ropescope("score --benchmark mmbench --data " +
                                               golden_path("evaluation/" + name) + " --check --json");
    EXPECT_EQ(result.exit_code, expected.contains("file_error") ? 3 : 0) << name << result.err;
    expect_table(json_lines(result.out).at(0), expected, name);
  }
}

/// Unit cases that belong to no benchmark of their own go through one that uses the rule.
std::vector<Json> scored(const std::string& flags, const std::vector<Json>& items) {
  const TemporaryFolder folder;
  std::ofstream file(folder.path("items.jsonl"));
  for (const Json& item : items) file << item.dump() << "\n";
  file.close();
  const CommandResult result =
      run_ropescope("score " + flags + " --json --items " + folder.path("items.jsonl"));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return json_lines(result.out);
}

TEST(ScoreCommandLine, LetterExtraction) {
  const Json letters = {"A", "B", "C", "D"};
  std::vector<Json> items, expected;
  const Json golden = testing::golden_json("evaluation/mcq_extract.json");
  for (const Json& item : golden.at("items")) {
    if (item.at("choices") != letters) continue;
    const Json doc = {{"question", "?"}, {"answer", "A"}, {"category", "c"}, {"l2_category", "l"}};
    items.push_back({{"doc", doc}, {"output", item.at("output")}});
    expected.push_back(item.at("expected") == "" ? Json(nullptr) : item.at("expected"));
  }
  const auto lines = scored("--benchmark mmstar --profile current", items);
  ASSERT_EQ(lines.size(), items.size() + 1);
  for (size_t i = 0; i < items.size(); ++i) {
    EXPECT_EQ(lines[i].at("extracted"), expected[i]) << items[i].dump();
  }
}

TEST(ScoreCommandLine, VqaNormalisation) {
  const Json cases = testing::golden_json("evaluation/vqav2.json").at("normalisation");
  std::vector<Json> items;
  for (const Json& item : cases) {
    const Json doc = {{"question", "?"}, {"question_id", 1}, {"answers", Json::array({"p", "q"})}};
    items.push_back({{"doc", doc}, {"output", item.at("text")}});
  }
  const auto lines = scored("--benchmark textvqa", items);
  for (size_t i = 0; i < items.size(); ++i) EXPECT_EQ(lines[i].at("processed"), cases[i].at("full"));
}

TEST(ScoreCommandLine, NeedlesByLengthAndDepth) {
  const Json map = testing::golden_json("evaluation/mmniah.json").at("heatmap");
  std::vector<Json> items;
  for (const Json& entry : map.at("entries")) {
    const Json meta = {{"context_length", entry.at("context_length")},
                       {"placed_depth", entry.at("placed_depth")}};
    const Json doc = {{"task", "counting"}, {"answer", {1, 2}}, {"meta", meta}};
    const std::string output = entry.at("score") == 1 ? "[1, 2]" : entry.at("score") == 0 ? "[]" : "[1]";
    items.push_back({{"doc", doc}, {"output", output}});
  }
  const Json aggregates = scored("--benchmark mmniah", items).back().at("aggregates");
  for (const char* key : {"cell_mean_depth_by_length", "score_per_length"}) {
    expect_close(aggregates.at(key), map.at(key), key);
  }
}

TEST(ScoreCommandLine, ABrokenRecordCostsItselfOnly) {
  const TemporaryFolder folder;
  std::ofstream(folder.path("items.jsonl")) << R"({"doc":{"question":"?","answer":"yes"},"output":"yes"})"
                                            << "\n{\n"
                                            << R"({"doc":{"question":"?"},"output":"yes"})"
                                            << "\n";
  const CommandResult result =
      run_ropescope("score --benchmark pope --json --items " + folder.path("items.jsonl"));
  EXPECT_EQ(result.exit_code, 3);
  const auto lines = json_lines(result.out);
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0].at("score"), 1);
  EXPECT_TRUE(lines[1].contains("error"));
  EXPECT_NE(lines[2].at("error").get<std::string>().find("answer"), std::string::npos);
  EXPECT_EQ(lines[3].at("rejected"), 2);
  EXPECT_EQ(lines[3].at("aggregates").at("all").at("accuracy"), 1);
}

/// Lines of `score --json` for any records; the exit code must be one of `codes`.
std::vector<Json> scored_or_refused(const std::string& benchmark, const std::string& lines,
                                    const std::set<int>& codes) {
  const TemporaryFolder folder;
  std::ofstream(folder.path("items.jsonl")) << lines;
  const std::string profile = profile_name(find_benchmark(benchmark).profiles.front());
  const CommandResult result = run_ropescope("score --json --benchmark " + benchmark + " --profile " +
                                             profile + " --items " + folder.path("items.jsonl"));
  EXPECT_TRUE(codes.count(result.exit_code)) << benchmark << " " << result.exit_code << result.err;
  return json_lines(result.out);
}

TEST(ScoreCommandLine, ColumnsOfAnyTypeAreScoredOrRefused) {
  const std::vector<Json> values = {nullptr,
                                    -3,
                                    2.5,
                                    true,
                                    "",
                                    "text",
                                    Json::array(),
                                    Json::array({1, nullptr}),
                                    Json::object(),
                                    Json{{"answer", 1}}};
  for (const Benchmark& benchmark : benchmarks()) {
    const Json golden = testing::golden_json("evaluation/" + benchmark.name + ".json");
    const Json item = golden.at("items")[0], doc = golden_doc(item);
    std::string lines;
    size_t count = 0;
    for (const auto& [column, original] : doc.items()) {
      for (const Json& value : values) {
        Json changed = doc;
        changed[column] = value;
        lines += Json{{"doc", changed}, {"output", item.at("output")}}.dump() + "\n";
        ++count;
      }
      Json without = doc;
      without.erase(column);
      lines += Json{{"doc", without}, {"output", item.at("output")}}.dump() + "\n";
      ++count;
    }
    // (MME: pictures that lost a question have no aggregates)
    const auto results = scored_or_refused(benchmark.name, lines, {3});
    EXPECT_GE(results.size(), count) << benchmark.name;
    for (size_t i = 0; i < count; ++i) {
      EXPECT_NE(results[i].contains("score"), results[i].contains("error")) << results[i].dump();
    }
  }
}

TEST(ScoreCommandLine, LinesThatAreNoItems) {
  const std::string good = R"({"doc":{"question":"?","answer":"yes","category":NaN},"output":"yes"})";
  const auto results = scored_or_refused("pope",
                                         good + "\r\n\n" + R"([1])" + "\n" + R"({"doc":[],"output":"yes"})" +
                                             "\n" + R"({"doc":{"question":"?","answer":"yes"},"output":3})" +
                                             "\n" + R"({"doc":{"question":"?","answer":"yes"}})" +
                                             "\n\"\xff\"\n" + good.substr(0, 30),
                                         {3});
  ASSERT_EQ(results.size(), 8u);
  EXPECT_EQ(results[0].at("score"), 1);
  for (size_t i = 1; i < 7; ++i) EXPECT_TRUE(results[i].contains("error")) << results[i].dump();
  EXPECT_EQ(results[7].at("rejected"), 6);
  EXPECT_EQ(results[7].at("aggregates").at("all").at("accuracy"), 1);
}

TEST(ScoreCommandLine, AnEmptyFileHasAggregatesOfNothing) {
  for (const Benchmark& benchmark : benchmarks()) {
    const auto results = scored_or_refused(benchmark.name, "", {0});
    ASSERT_EQ(results.size(), 1u) << benchmark.name;
    EXPECT_TRUE(results[0].at("aggregates").is_object());
  }
}

TEST(ScoreCommandLine, MistypedNames) {
  const CommandResult result = run_ropescope("score --benchmark mmbensh --items x");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.err.find("did you mean mmbench"), std::string::npos) << result.err;
  EXPECT_EQ(run_ropescope("score --benchmark pope --profile old --items x").exit_code, 2);
  const CommandResult without = run_ropescope("score --benchmark lvbench --profile paper --items x");
  EXPECT_EQ(without.exit_code, 2);
  EXPECT_NE(without.err.find("that harness has no rules for lvbench; there are current"), std::string::npos) << without.err;
  EXPECT_EQ(run_ropescope("score --benchmark pope --boxes unit --items x").exit_code, 2);
  EXPECT_EQ(run_ropescope("score --benchmark pope --subtitles --items x").exit_code, 2);
  EXPECT_EQ(run_ropescope("score --benchmark refcoco_rec --boxes better --items x").exit_code, 2);
  EXPECT_EQ(run_ropescope("score --benchmark pope --items /nonexistent").exit_code, 3);
}

}  // namespace
}  // namespace ropescope::eval
