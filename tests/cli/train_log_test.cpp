// ropescope train --log, --log-maps: what viewers of runs get to read.
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/core/file.h"

#include "tests/support/python.h"
#include "tests/support/ranks.h"
#include "tests/support/tiny_llava.h"
#include "tests/support/training_runs.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

class TrainLog : public TrainingRuns {
 protected:
  TrainLog() { write_texts(); }
  std::string flags(const std::string& output, const std::string& more) const override {
    return "train --model " + golden_path("language/llama-tiny/safetensors-fp32") + " --data " +
           folder_.path("texts.jsonl") +
           " --max-length 24 --batch-size 2 --learning-rate 1e-3 --threads 1 --output " +
           folder_.path(output) + " " + more;
  }
  std::vector<Json> lines(const std::string& output) const {
    return json_lines(bytes(output + "/log.jsonl"));
  }
  void expect_steps(const std::string& output, int64_t count) const {
    const std::vector<Json> found = lines(output);
    ASSERT_EQ(static_cast<int64_t>(found.size()), count);
    for (int64_t i = 0; i < count; ++i) EXPECT_EQ(found[static_cast<size_t>(i)].at("step"), i + 1);
  }
};

TEST_F(TrainLog, HasEveryStepOnceAndTheCriteriaInItsHeader) {
  const std::string more =
      "--log tensorboard,jsonl --log-maps 4 --scheme id-align --save-every 4 --max-steps 12 ";
  ASSERT_EQ(run("run", more).exit_code, 0);
  expect_steps("run", 12);
  const Json header = Json::parse(bytes("run/log_header.json"));
  EXPECT_EQ(header.at("scheme"), "id-align");
  EXPECT_EQ(header.at("config").at("learning-rate"), 1e-3);
  EXPECT_THAT(header.at("run").at("command").get<std::string>(), HasSubstr("--log-maps 4"));
  // The same criteria as the command's, on the same layout.
  const std::string layout = header.at("criteria").at("layout");
  const CommandResult told = run_ropescope(
      "positions --json --criteria --scheme id-align --head-dim 16 --kv-heads 2 --layout " + layout);
  ASSERT_EQ(told.exit_code, 0) << told.err;
  EXPECT_EQ(header.at("criteria").at("criteria").at("ptd"), Json::parse(told.out).at("criteria").at("ptd"));
  for (const int step : {0, 4, 8, 12}) {
    EXPECT_TRUE(fs::exists(folder_.path("run/maps/step-" + std::to_string(step) + ".png"))) << step;
  }
  // Logs change nothing of the run.
  ASSERT_EQ(run("plain", "--scheme id-align --save-every 4 --max-steps 12").exit_code, 0);
  expect_same_end("run", "plain", 12);
  // Going back to a step takes what came after it along.
  fs::remove_all(folder_.path("run/checkpoints/step-12"));
  fs::remove_all(folder_.path("run/checkpoints/step-8"));
  ASSERT_EQ(run("run", more + "--resume auto").exit_code, 0);
  expect_steps("run", 12);
  expect_same_end("run", "plain", 12);
  if (!run_python("cli/train_log_read.py", "tensorboard " + folder_.path("run") + " 12")) {
    GTEST_SKIP() << "no Python with tensorboard";
  }
}

TEST_F(TrainLog, IsTakenByTrackioAndWandb) {
  ASSERT_EQ(run("run", "--log jsonl --max-steps 6").exit_code, 0);
  bool any = false;
  for (const char* viewer : {"trackio", "wandb"}) {
    any |= run_python("cli/train_log_read.py", viewer + (" " + folder_.path("run")) + " 6");
  }
  if (!any) GTEST_SKIP() << "no Python with trackio or wandb";
}

TEST_F(TrainLog, KilledAtAnyMomentItHasEveryStepOnce) {
  const std::string more =
      "--log tensorboard,jsonl --max-steps 120 --save-every 10 --keep-last 2 --resume auto ";
  for (const char* seconds : {"0.2", "0.3", "0.25"}) {
    run_ropescope(
        flags("run", more + ">/dev/null 2>&1 & pid=$!; sleep " + seconds + "; kill -9 $pid; wait $pid"));
  }
  ASSERT_EQ(run("run", more).exit_code, 0);
  expect_steps("run", 120);
}

TEST_F(TrainLog, OnlyOneOfSeveralRanksWrites) {
  std::vector<std::string> command = {ropescope_path()};
  std::stringstream words(
      flags("run", "--log tensorboard,jsonl --log-maps 2 --max-steps 4 --accumulation 2"));
  for (std::string word; words >> word;) command.push_back(word);
  RankProcesses ranks(2, command);
  for (const int rank : {0, 1}) EXPECT_EQ(ranks.wait(rank, 60).exit_code, 0) << ranks.text(rank);
  expect_steps("run", 4);
}

TEST_F(TrainLog, OfPicturesIsAMapOnThem) {
  make_tiny_llava(folder_);
  const std::string data = make_conversations(folder_, 8);
  const std::string begin = "train --model " + folder_.path("llava") + " --data " + data +
                            " --image-folder " + synthetic_folder() +
                            " --batch-size 2 --threads 1 --scheme id-align ";
  const CommandResult result =
      run_ropescope(begin + "--log tensorboard --log-maps 1 --max-steps 2 --output " + folder_.path("run"));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  for (const int step : {0, 1, 2}) {
    EXPECT_TRUE(fs::exists(folder_.path("run/maps/step-" + std::to_string(step) + ".png"))) << step;
  }
  ASSERT_EQ(run_ropescope(begin + "--max-steps 2 --output " + folder_.path("plain")).exit_code, 0);
  expect_same_end("run", "plain", 2);
  const CommandResult missing =
      run_ropescope(begin + "--log jsonl --log-row nobody --max-steps 1 --output " + folder_.path("other"));
  EXPECT_EQ(missing.exit_code, 2);
  EXPECT_THAT(missing.err, HasSubstr("--log-row: expected the name of a row"));
}

TEST_F(TrainLog, RefusesWhatDoesNotGoTogether) {
  for (const auto& [more, said] :
       std::vector<std::pair<std::string, std::string>>{{"--log wandb", "expected tensorboard or jsonl"},
                                                        {"--log ,", "expected tensorboard or jsonl"},
                                                        {"--log-row 3", "expected --log or --log-maps"}}) {
    const CommandResult result = run("run", "--max-steps 1 " + more);
    EXPECT_EQ(result.exit_code, 2) << more;
    EXPECT_THAT(result.err, HasSubstr(said));
  }
  EXPECT_FALSE(fs::exists(folder_.path("run/curves.h5")));
  ASSERT_EQ(run("other", "--max-steps 1 --log jsonl").exit_code, 0);
  std::ofstream(folder_.path("other/log.jsonl")) << "mine\n";
  const CommandResult foreign = run("other", "--max-steps 2 --allow-change --log jsonl --resume auto");
  EXPECT_EQ(foreign.exit_code, 3) << foreign.err;
  EXPECT_EQ(bytes("other/log.jsonl"), "mine\n");
}

}  // namespace
}  // namespace ropescope
