// ropescope train, as a user runs it.
#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>

#include <gtest/gtest.h>

#include "ropescope/core/json.h"
#include "ropescope/io/result_file.h"

#include "tests/support/golden.h"
#include "tests/support/ranks.h"
#include "tests/support/training_runs.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
namespace fs = std::filesystem;

class TrainCommand : public TrainingRuns {
 protected:
  TrainCommand() {
    std::ofstream texts(folder_.path("texts.jsonl"));
    for (int i = 0; i < 12; ++i) {
      texts
          << Json{{"id", i}, {"text", "Text number " + std::to_string(i * 37) + " of a small corpus."}}.dump()
          << "\n";
    }
    std::ofstream config(folder_.path("run.cfg"));
    config << "model = " << golden_path("language/llama-tiny/safetensors-fp32") << "\n"
           << "data = " << folder_.path("texts.jsonl") << "\n"
           << "max-length = 24\nbatch-size = 2\naccumulation = 2\nlearning-rate = 1e-3\nthreads = 1\n"
           << "save-every = 5\nlog-every = 5\n";
  }

  std::string flags(const std::string& output, const std::string& more) const override {
    return "train --config " + folder_.path("run.cfg") + " --output " + folder_.path(output) + " " + more;
  }
};

TEST_F(TrainCommand, WritesCurvesCheckpointsAndProgressAndLearns) {
  const CommandResult result = run("run", "--max-steps 20 --json");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json said = Json::parse(result.out);
  EXPECT_EQ(said.at("step"), 20);
  EXPECT_NE(result.err.find("step 20/20  loss "), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("ETA"), std::string::npos);
  const ResultReader curves(folder_.path("run/curves.h5"));
  for (const char* name : {"step", "loss", "learning_rate", "grad_norm", "tokens_per_second"}) {
    EXPECT_EQ(curves.read(std::string("/train/") + name).numel(), 20) << name;
  }
  const at::Tensor loss = curves.read("/train/loss");
  EXPECT_LT(loss[19].item<double>(), loss[0].item<double>() - 1.0);
  for (const int step : {5, 10, 15, 20}) {
    EXPECT_TRUE(fs::exists(folder_.path("run/checkpoints/step-" + std::to_string(step) + "/state.json")));
  }
  // The checkpoint is a model.
  const CommandResult inspected = run_ropescope("inspect --model " + folder_.path("run/checkpoints/step-20"));
  EXPECT_EQ(inspected.exit_code, 0) << inspected.err;
}

TEST_F(TrainCommand, WeightsAreNotStreamed) {
  const CommandResult result = run("run", "--max-steps 1 --weights streamed");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.err.find("--weights streamed: training"), std::string::npos) << result.err;
  EXPECT_FALSE(fs::exists(folder_.path("run")));
}

TEST_F(TrainCommand, AnInterruptedRunSavesAndGoesOnExactly) {
  ASSERT_EQ(run("whole", "--max-steps 400 --save-every 200 --scheme id-align").exit_code, 0);
  const std::string more = "--max-steps 400 --save-every 200 --scheme id-align --resume auto";
  for (const char* signal : {"INT", "TERM"}) {
    const CommandResult stopped =
        run_ropescope(flags(signal, more + " >/dev/null 2>&1 & pid=$!; while kill -0 $pid && ! test -d ") +
                      folder_.path(signal) + "/checkpoints; do sleep 0.01; done; sleep 0.1; kill -" + signal +
                      " $pid; wait $pid");
    ASSERT_EQ(stopped.exit_code, 130) << stopped.err;
    const CommandResult resumed = run(signal, more);
    ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
    EXPECT_NE(resumed.err.find("resumed "), std::string::npos) << resumed.err;
    expect_same_end("whole", signal, 400);
  }
}

TEST_F(TrainCommand, KilledAtAnyMomentItEndsWithTheSameWeights) {
  ASSERT_EQ(run("whole", "--max-steps 200 --keep-last 2").exit_code, 0);
  std::mt19937 rng(7);
  std::uniform_real_distribution<double> seconds(0.1, 0.7);
  for (int i = 0; i < 20; ++i) {
    run_ropescope(flags("killed", std::string("--max-steps 200 --keep-last 2 --resume auto >/dev/null 2>&1 & "
                                              "pid=$!; sleep ") +
                                      std::to_string(seconds(rng)) + "; kill -9 $pid; wait $pid"));
  }
  const CommandResult last = run("killed", "--max-steps 200 --keep-last 2 --resume auto");
  ASSERT_EQ(last.exit_code, 0) << last.err;
  expect_same_end("whole", "killed", 200);
}

TEST_F(TrainCommand, AnotherConfigurationIsRefusedUnlessAllowed) {
  ASSERT_EQ(run("run", "--max-steps 5").exit_code, 0);
  EXPECT_EQ(run("run", "--max-steps 5").exit_code, 2);
  const CommandResult refused = run("run", "--max-steps 5 --resume auto --weight-decay 0.5");
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_NE(refused.err.find("weight-decay: 0.0, now 0.5"), std::string::npos) << refused.err;
  EXPECT_EQ(run("run", "--max-steps 10 --resume auto --allow-change").exit_code, 0);
  EXPECT_EQ(run("run", "--max-steps 5 --force").exit_code, 0);
}

TEST_F(TrainCommand, OtherDataIsRefusedUnlessAllowed) {
  ASSERT_EQ(run("run", "--max-steps 5").exit_code, 0);
  std::ofstream(folder_.path("texts.jsonl"), std::ios::app) << R"({"id": 99, "text": "One more."})"
                                                            << "\n";
  const CommandResult refused = run("run", "--max-steps 5 --resume auto");
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_NE(refused.err.find("sha256"), std::string::npos) << refused.err;
  EXPECT_EQ(run("run", "--max-steps 5 --resume auto --allow-change").exit_code, 0);
}

TEST_F(TrainCommand, AFullDiskEndsWithFourAndLeavesTheCheckpointBefore) {
  ASSERT_EQ(run("run", "--max-steps 5").exit_code, 0);
  const std::string before = bytes("run/checkpoints/step-5/model.safetensors");
  // No file may grow beyond 100 KiB.
  const CommandResult full =
      run_ropescope("--version >/dev/null; trap '' XFSZ; ulimit -f 100; " + ropescope_path() + " " +
                    flags("run", "--max-steps 10 --resume auto --allow-change"));
  EXPECT_EQ(full.exit_code, 4) << full.err;
  EXPECT_NE(full.err.find("model.safetensors: cannot be written"), std::string::npos) << full.err;
  EXPECT_EQ(bytes("run/checkpoints/step-5/model.safetensors"), before);
  const CommandResult after = run("run", "--max-steps 10 --resume auto --allow-change");
  EXPECT_EQ(after.exit_code, 0) << after.err;
  EXPECT_NE(after.err.find("after step 5"), std::string::npos) << after.err;
}

TEST_F(TrainCommand, CurvesAreWholeAtAnyMoment) {
  run_ropescope(flags("run", "--max-steps 120 --save-every 1 --keep-last 1 --quiet >/dev/null 2>&1 &"));
  const fs::path curves = folder_.path("run/curves.h5");
  int64_t points = 0;
  int different = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (points < 120) {
    ASSERT_LT(std::chrono::steady_clock::now(), end) << points;
    if (!fs::exists(curves)) continue;
    const int64_t now = ResultReader(curves).read("/train/loss").numel();
    ASSERT_GE(now, points);
    different += now > points ? 1 : 0;
    points = now;
  }
  EXPECT_GT(different, 3);
}

TEST_F(TrainCommand, ANonFiniteLossEndsWithFiveAndKeepsTheState) {
  const CommandResult result = run("run", "--max-steps 20 --learning-rate 1e38 --schedule constant");
  EXPECT_EQ(result.exit_code, 5) << result.err;
  EXPECT_NE(result.err.find("rows of the"), std::string::npos) << result.err;
  EXPECT_FALSE(fs::is_empty(folder_.path("run/checkpoints")));
}

TEST_F(TrainCommand, LearnsConversationsAndLeavesBadOnesOut) {
  {
    std::ofstream file(folder_.path("chat.json"));
    file << R"([{"id":"a","conversations":[{"from":"human","value":"Hi"},{"from":"gpt","value":"Hello."}]},
               {"id":"b","conversations":[{"from":"human","value":"Nobody answers"}]}])";
  }
  const std::string more = "--max-steps 2 --max-length 300 --data " + folder_.path("chat.json");
  const CommandResult refused = run("strict", more);
  EXPECT_EQ(refused.exit_code, 3);
  EXPECT_NE(refused.err.find("id b"), std::string::npos) << refused.err;
  EXPECT_EQ(run("lenient", more + " --max-bad-rows 1").exit_code, 0);
}

TEST_F(TrainCommand, DryRunPrintsThePlanAndWritesNothing) {
  const CommandResult result = run("run", "--dry-run --epochs 3 --ranks 2 --tflops 0.5 --json");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json plan = Json::parse(result.out);
  EXPECT_EQ(plan.at("steps"), 3 * plan.at("steps_per_epoch").get<int64_t>());
  EXPECT_GT(plan.at("trained_parameters"), 100000);
  // Six operations a trained weight and token, embeddings aside.
  const double tokens = plan.at("tokens").get<double>(), operations = plan.at("operations_at_most");
  EXPECT_LT(operations, 3.0 * 6.0 * tokens * plan.at("trained_parameters").get<double>());
  EXPECT_GT(operations, 0.5 * 3.0 * 6.0 * tokens * plan.at("trained_parameters").get<double>());
  EXPECT_DOUBLE_EQ(plan.at("seconds_at_most"), operations / 1e12);
  EXPECT_FALSE(fs::exists(folder_.path("run")));
}

}  // namespace
}  // namespace ropescope
