// What `ropescope evaluate` refuses, says and leaves behind.
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/core/file.h"

#include "tests/cli/evaluate_runs.h"
#include "tests/support/golden.h"
#include "tests/support/tiny_llava.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class EvaluateTrust : public ::testing::Test {
 protected:
  void SetUp() override { model_ = make_tiny_llava(folder_); }

  void write_items(const std::vector<Json>& items) const {
    std::ofstream stream(folder_.path("items.jsonl"));
    for (const Json& item : items) stream << item.dump() << "\n";
  }
  CommandResult evaluate(const std::string& output, const std::string& more = "") const {
    return run_ropescope("evaluate --quiet --model '" + model_ + "' --benchmark pope --data '" +
                         folder_.path("items.jsonl") +
                         "' --template vicuna_v1 --max-new-tokens 3 --no-images --output '" +
                         folder_.path(output) + "' " + more);
  }
  bool exists(const std::string& name) const { return std::filesystem::exists(folder_.path(name)); }

  TemporaryFolder folder_;
  std::string model_;
};

const std::vector<Json> kThree = {{{"question", "Is it red?"}, {"answer", "yes"}},
                                  {{"question", "Is it blue?"}, {"answer", "no"}},
                                  {{"question", "Is it green?"}, {"answer", "no"}}};

TEST_F(EvaluateTrust, NothingToAskIsExplainedAndLeavesNothingBehind) {
  write_items({{{"q", "Is it red?"}, {"answer", "yes"}}, {{"q", "Is it blue?"}, {"answer", "no"}}});
  const auto refused = evaluate("new/run");
  EXPECT_EQ(refused.exit_code, 3);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("2 records rejected: 2 records"),
                                 HasSubstr("\"question\" is missing"), HasSubstr("there are answer, q")));
  EXPECT_FALSE(exists("new"));
  write_items(kThree);
  const auto run = evaluate("new/run");
  EXPECT_EQ(run.exit_code, 0) << run.err;
}

TEST_F(EvaluateTrust, ReasonsOfRejectedRecordsArePrinted) {
  std::vector<Json> items = kThree;
  items.push_back({{"question", "How many?"}, {"answer", "3"}});
  write_items(items);
  const auto run = evaluate("run");
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.err, HasSubstr("1 record: doc: \"answer\": expected yes or no, found \"3\" (record 4)"));
}

TEST_F(EvaluateTrust, TheEndSaysHowSureTheFigureIsAndShowsAnswers) {
  write_items(kThree);
  const auto run = evaluate("run");
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.out, AllOf(HasSubstr("95 % interval, n = 3"), HasSubstr("unreadable answers: "),
                             HasSubstr("record 1: Is it red?"), HasSubstr("expected \"no\""),
                             Not(HasSubstr("policy"))));
  const Json summary = summary_in(folder_.path("run"));
  EXPECT_EQ(summary.at("n"), 3);
  ASSERT_EQ(summary.at("interval").size(), 2u);
  EXPECT_LE(summary.at("interval")[0], summary.at("percent"));
  EXPECT_GE(summary.at("interval")[1], summary.at("percent"));
  EXPECT_TRUE(summary.at("no_answer").is_number());
}

TEST_F(EvaluateTrust, AnotherModelUnderTheSameNameIsNotResumed) {
  write_items(kThree);
  ASSERT_EQ(evaluate("run").exit_code, 0);
  EXPECT_EQ(evaluate("run", "--resume").exit_code, 0);
  std::fstream weights(model_ + "/model.safetensors", std::ios::in | std::ios::out | std::ios::binary);
  weights.seekp(-1, std::ios::end);
  weights.put('\x3c');
  weights.close();
  const auto other = evaluate("run", "--resume");
  EXPECT_EQ(other.exit_code, 2) << other.err;
  EXPECT_THAT(other.err, AllOf(HasSubstr("model_files: model.safetensors = "), HasSubstr("now it is")));
}

TEST_F(EvaluateTrust, AnotherTokenizerConfigurationIsNotResumed) {
  write_items(kThree);
  ASSERT_EQ(evaluate("run").exit_code, 0);
  std::ofstream(model_ + "/tokenizer_config.json", std::ios::app) << "\n";
  const auto other = evaluate("run", "--resume");
  EXPECT_EQ(other.exit_code, 2) << other.err;
  EXPECT_THAT(other.err, HasSubstr("tokenizer_config.json"));
}

TEST_F(EvaluateTrust, WhereEveryQuestionFailsThereIsNoFigureAndResumeAsksAgain) {
  write_items({{{"question", "Is it red?"}, {"answer", "yes"}, {"image", "p.png"}}});
  std::ofstream(folder_.path("p.png")) << "no picture";
  const std::string command =
      "evaluate --quiet --model '" + model_ + "' --benchmark pope --data '" + folder_.path("items.jsonl") +
      "' --template vicuna_v1 --max-new-tokens 3 --output '" + folder_.path("run") + "' ";
  const auto failed = run_ropescope(command);
  EXPECT_EQ(failed.exit_code, 3);
  EXPECT_THAT(failed.err, HasSubstr("--resume asks again"));
  EXPECT_THAT(failed.out, HasSubstr("no figure"));
  EXPECT_TRUE(summary_in(folder_.path("run")).at("percent").is_null());
  std::filesystem::copy_file(synthetic_image("gray_37x53.png"), folder_.path("p.png"),
                             std::filesystem::copy_options::overwrite_existing);
  const auto resumed = run_ropescope(command + "--resume");
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_EQ(samples_in(folder_.path("run")).size(), 1u);
  EXPECT_EQ(summary_in(folder_.path("run")).at("failed"), 0);
}

TEST_F(EvaluateTrust, AFolderThatCannotBeWrittenIsNoticedBeforeAnyWork) {
  write_items(kThree);
  std::ofstream(folder_.path("file")) << "x";
  for (const std::string output : {"file", "file/run"}) {
    const auto refused = evaluate(output);
    EXPECT_EQ(refused.exit_code, 4) << refused.err;
    EXPECT_THAT(refused.err, HasSubstr("the folder cannot be written"));
  }
}

TEST_F(EvaluateTrust, BenchmarksAreListed) {
  const auto list = run_ropescope("evaluate --list");
  EXPECT_EQ(list.exit_code, 0) << list.err;
  EXPECT_THAT(list.out, AllOf(HasSubstr("mmbench"), HasSubstr("mmniah"), HasSubstr("POPE, splits")));
}

TEST_F(EvaluateTrust, FilesOfEveryBenchmarkCanBeChecked) {
  const std::string file = folder_.write(
      "items.jsonl",
      "{\"question\": \"Is it red?\", \"answer\": \"yes\"}\n{\"q\": 1}\n{\"question\": \"?\", \"answer\": \"3\"}\n");
  const auto check = run_ropescope("score --benchmark pope --check --json --data '" + file + "'");
  ASSERT_EQ(check.exit_code, 0) << check.err;
  const Json report = Json::parse(check.out);
  EXPECT_EQ(report.at("items").size(), 1u);
  ASSERT_EQ(report.at("rejected").size(), 2u);
  EXPECT_EQ(report.at("rejected")[0].at("record"), 2);
}

}  // namespace
}  // namespace ropescope
