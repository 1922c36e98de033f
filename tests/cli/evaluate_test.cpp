// `ropescope evaluate` as a user runs it, on a tiny model with eyes.
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/io/result_file.h"

#include "tests/cli/evaluate_runs.h"
#include "tests/support/golden.h"
#include "tests/support/ranks.h"
#include "tests/support/tiny_llava.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
using ::testing::HasSubstr;

std::map<int64_t, std::string> outputs_in(const std::string& folder) {
  std::map<int64_t, std::string> outputs;
  for (const Json& sample : samples_in(folder)) outputs[sample.at("record")] = sample.at("output");
  return outputs;
}

class EvaluateLlava : public ::testing::Test {
 protected:
  void SetUp() override {
    write_tiny_llava(folder_.path(""));
    for (const char* name : {"gray_37x53.png", "exif_48x33.jpg"}) {
      std::filesystem::copy_file(synthetic_image(name), folder_.path(name));
    }
  }

  void write_items(const std::vector<Json>& items) const {
    std::ofstream stream(folder_.path("items.jsonl"));
    for (const Json& item : items) stream << item.dump() << "\n";
  }

  std::string command(const std::string& output, const std::string& more = "") const {
    return "evaluate --quiet --model '" + folder_.path("") + "' --benchmark pope --data '" +
           folder_.path("items.jsonl") + "' --max-new-tokens 6 --output '" + folder_.path(output) + "' " +
           more;
  }

  Json summary(const std::string& output) const { return summary_in(folder_.path(output)); }

  TemporaryFolder folder_;
};

TEST_F(EvaluateLlava, QuestionsOnOnePictureShareItAndAreAnsweredAsAlone) {
  std::vector<Json> items;
  for (const char* image : {"gray_37x53.png", "exif_48x33.jpg"}) {
    for (const std::string& question : kQuestions) {
      items.push_back({{"question", question}, {"answer", "yes"}, {"image", image}});
    }
  }
  items.push_back({{"question", "Is water wet?"}, {"answer", "yes"}});
  write_items(items);
  int run = 0;
  for (const std::string scheme : {"", "--scheme id-align", "--scheme dipe+mrope"}) {
    SCOPED_TRACE(scheme);
    const std::string output = "run" + std::to_string(run++);
    const auto result = run_ropescope(command(output, scheme));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const auto outputs = outputs_in(folder_.path(output));
    ASSERT_EQ(outputs.size(), items.size());
    for (const size_t i : {size_t{0}, size_t{4}, items.size() - 1}) {
      const bool seen = items[i].contains("image");
      const std::string prompt =
          items[i].at("question").get<std::string>() + "\nAnswer the question using a single word or phrase.";
      const auto alone = run_ropescope(
          "generate --quiet --json --alpha drop --template vicuna_v1 --max-new-tokens 6 --model '" +
          folder_.path("") + "' " + (seen ? "--image '" + folder_.path(items[i].at("image")) + "' " : "") +
          scheme + " --prompt '" + prompt + "'");
      ASSERT_EQ(alone.exit_code, 0) << alone.err;
      EXPECT_EQ(outputs.at(static_cast<int64_t>(i) + 1), Json::parse(alone.out).at("text")) << prompt;
    }
    const ResultReader reader(folder_.path(output) + "/result.h5");
    EXPECT_EQ(reader.read("/evaluation/score").numel(), static_cast<int64_t>(items.size()));
  }
}

TEST_F(EvaluateLlava, AKilledRunGoesOnAndAsksNothingTwice) {
  std::vector<Json> items;
  for (int i = 0; i < 24; ++i) {
    items.push_back({{"question", kQuestions[i % 3] + " " + std::to_string(i)},
                     {"answer", "yes"},
                     {"image", i % 2 == 0 ? "gray_37x53.png" : "exif_48x33.jpg"}});
  }
  write_items(items);
  const std::string one_by_one = "--batch-tokens 1";
  ASSERT_EQ(run_ropescope(command("whole", one_by_one)).exit_code, 0);
  const std::string file = folder_.path("killed") + "/samples.jsonl";
  run_ropescope(command("killed", one_by_one) + " >/dev/null 2>&1 & P=$!; while [ ! -f '" + file +
                "' ] || [ $(wc -l <'" + file + "') -lt 5 ]; do sleep 0.02; done; kill -9 $P; wait $P; true");
  const size_t before = samples_in(folder_.path("killed")).size();
  ASSERT_GE(before, 5u);
  ASSERT_LT(before, items.size()) << "the run was over before it could be killed";
  std::ofstream(file, std::ios::app) << R"({"record":24,"doc":{"ques)";  // as if it had been writing
  const auto resumed = run_ropescope(command("killed", one_by_one + " --resume --json"));
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_EQ(Json::parse(resumed.out).at("asked_now"), items.size() - before);
  EXPECT_EQ(samples_in(folder_.path("killed")).size(), items.size());
  EXPECT_EQ(outputs_in(folder_.path("killed")), outputs_in(folder_.path("whole")));
  for (const char* key : {"aggregates", "items", "generated_tokens"}) {
    EXPECT_EQ(summary("killed").at(key), summary("whole").at(key));
  }
  // The samples are what `score` reads.
  const auto scored = run_ropescope("score --benchmark pope --json --items '" + file + "'");
  EXPECT_EQ(json_lines(scored.out).back().at("aggregates"), summary("whole").at("aggregates"));
}

TEST_F(EvaluateLlava, TwoProcessesAnswerAsOne) {
  std::vector<Json> items;
  for (int i = 0; i < 9; ++i) {
    Json item = {{"question", kQuestions[i % 3]}, {"answer", "yes"}};
    if (i % 2 == 0) item["image"] = i % 4 == 0 ? "gray_37x53.png" : "exif_48x33.jpg";
    items.push_back(item);
  }
  write_items(items);
  const std::string small = "--batch-tokens 150";
  ASSERT_EQ(run_ropescope(command("one", small)).exit_code, 0);
  RankProcesses processes(
      2, {ropescope_path(), "evaluate", "--quiet", "--model", folder_.path(""), "--benchmark", "pope",
          "--data", folder_.path("items.jsonl"), "--max-new-tokens", "6", "--batch-tokens", "150", "--output",
          folder_.path("two")});
  for (const int rank : {0, 1}) {
    const RankResult result = processes.wait(rank, 120);
    ASSERT_EQ(result.exit_code, 0) << result.text;
  }
  EXPECT_EQ(outputs_in(folder_.path("two")), outputs_in(folder_.path("one")));
  EXPECT_EQ(summary("two").at("aggregates"), summary("one").at("aggregates"));
  EXPECT_FALSE(std::filesystem::exists(folder_.path("two") + "/samples.rank-1.jsonl"));
}

TEST_F(EvaluateLlava, ABrokenPictureCostsItsOwnItemOnly) {
  std::ofstream(folder_.path("broken.png")) << "no picture";
  write_items({{{"question", "Is it red?"}, {"answer", "yes"}, {"image", "broken.png"}},
               {{"question", "Is it red?"}, {"answer", "yes"}, {"image", "absent.png"}},
               {{"question", "Is it red?"}, {"answer", "yes"}, {"image", "gray_37x53.png"}},
               {{"question", "no answer"}}});
  const auto result = run_ropescope(command("run"));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json report = summary("run");
  EXPECT_EQ(report.at("items"), 3);
  EXPECT_EQ(report.at("failed"), 2);
  ASSERT_EQ(report.at("rejected").size(), 1u);
  EXPECT_EQ(report.at("rejected")[0].at("record"), 4);
  int failed = 0;
  for (const Json& sample : samples_in(folder_.path("run"))) failed += sample.contains("error") ? 1 : 0;
  EXPECT_EQ(failed, 2);
}

TEST_F(EvaluateLlava, OnlyTheSameRunIsResumed) {
  write_items({{{"question", "Is it red?"}, {"answer", "yes"}}});
  ASSERT_EQ(run_ropescope(command("run")).exit_code, 0);
  const auto again = run_ropescope(command("run"));
  EXPECT_EQ(again.exit_code, 2);
  EXPECT_THAT(again.err, HasSubstr("--resume"));
  const auto other = run_ropescope(command("run", "--resume --scheme id-align"));
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_THAT(other.err, HasSubstr("scheme"));
  EXPECT_EQ(run_ropescope(command("run", "--force --scheme id-align")).exit_code, 0);
}

}  // namespace
}  // namespace ropescope
