// ropescope train in several processes, as launchers start it.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include <gtest/gtest.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/json.h"

#include "tests/support/golden.h"
#include "tests/support/ranks.h"
#include "tests/support/tiny_llava.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
namespace fs = std::filesystem;

constexpr double kPatience = 60.0;

class Distributed : public ::testing::Test {
 protected:
  Distributed() {
    std::ofstream texts(folder_.path("texts.jsonl"));
    for (int i = 0; i < 13; ++i) {
      texts
          << Json{{"id", i}, {"text", "Text number " + std::to_string(i * 37) + " of a small corpus."}}.dump()
          << "\n";
    }
  }

  std::vector<std::string> command(const std::string& output, const std::vector<std::string>& more) const {
    std::vector<std::string> words = {ropescope_path(), "train",
                                      "--model",        golden_path("language/llama-tiny/safetensors-fp32"),
                                      "--data",         folder_.path("texts.jsonl"),
                                      "--output",       folder_.path(output)};
    for (const char* word : {"--max-length", "24", "--batch-size", "2", "--accumulation", "3", "--threads",
                             "1", "--log-every", "1"}) {
      words.push_back(word);
    }
    if (std::find(more.begin(), more.end(), "--learning-rate") == more.end()) {
      words.insert(words.end(), {"--learning-rate", "2e-4"});
    }
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  std::string line(const std::string& output, const std::vector<std::string>& more) const {
    std::string text;
    for (const std::string& word : command(output, more)) text += word + " ";
    return text;
  }

  std::vector<RankResult> run(int ranks, const std::string& output,
                              const std::vector<std::string>& more) const {
    RankProcesses processes(ranks, command(output, more));
    std::vector<RankResult> results;
    for (int rank = 0; rank < ranks; ++rank) results.push_back(processes.wait(rank, kPatience));
    return results;
  }

  void expect_run(int ranks, const std::string& output, const std::vector<std::string>& more) const {
    for (const RankResult& result : run(ranks, output, more)) ASSERT_EQ(result.exit_code, 0) << result.text;
  }

  std::string checkpoint(const std::string& output, int step) const {
    return folder_.path(output) + "/checkpoints/step-" + std::to_string(step);
  }

  void expect_same(const std::string& one, const std::string& other, int step) const {
    for (const char* name : {"/model.safetensors", "/optimizer.safetensors"}) {
      const auto expected = open_checkpoint(checkpoint(one, step) + name);
      const auto actual = open_checkpoint(checkpoint(other, step) + name);
      ASSERT_EQ(actual->tensors().size(), expected->tensors().size());
      for (const TensorInfo& info : expected->tensors()) {
        EXPECT_TRUE(
            all_close(actual->take(info.name, at::kFloat), expected->take(info.name, at::kFloat), 1e-5, 1e-4))
            << other << ": " << info.name;
      }
    }
  }

  // Until rank 0 has made a few steps.
  static void wait_for_steps(const RankProcesses& processes) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(kPatience);
    while (processes.text(0).find("step 3/") == std::string::npos) {
      ASSERT_LT(std::chrono::steady_clock::now(), end) << processes.text(0);
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }

  // One of four ranks is hit by a signal in the middle; the others end in time, naming it.
  void expect_end_of_all(int victim, int signal, const std::string& shard) const {
    SCOPED_TRACE("rank " + std::to_string(victim) + ", signal " + std::to_string(signal) + ", " + shard);
    constexpr double kTimeout = 4.0;
    const std::string output = "lost-" + std::to_string(victim) + "-" + std::to_string(signal);
    RankProcesses processes(4, command(output, {"--max-steps", "1000000", "--save-every", "0", "--shard",
                                                shard, "--timeout", "4"}));
    wait_for_steps(processes);
    const auto start = std::chrono::steady_clock::now();
    kill(processes.pid(victim), signal);
    for (int rank = 0; rank < 4; ++rank) {
      if (rank == victim) continue;
      const RankResult result = processes.wait(rank, kPatience);
      EXPECT_EQ(result.exit_code, 4) << rank << ": " << result.text;
      EXPECT_NE(result.text.find("rank " + std::to_string(victim)), std::string::npos)
          << rank << ": " << result.text;
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    EXPECT_LT(seconds.count(), kTimeout + 2.0);
  }

  TemporaryFolder folder_;
};

// Rows with one, two and no images, under a scheme of its own: ranks do not even make the same calls.
TEST_F(Distributed, PicturesAreLearntAsByOneProcess) {
  const std::string model = make_tiny_llava(folder_), data = make_conversations(folder_, 12);
  const auto train = [&](int ranks, const std::string& output, const std::string& shard) {
    RankProcesses processes(ranks, {ropescope_path(),  "train",
                                    "--model",         model,
                                    "--data",          data,
                                    "--image-folder",  synthetic_folder(),
                                    "--scheme",        "id-align",
                                    "--stage",         "finetune",
                                    "--learning-rate", "2e-4",
                                    "--batch-size",    "2",
                                    "--accumulation",  "3",
                                    "--max-steps",     "4",
                                    "--threads",       "1",
                                    "--shard",         shard,
                                    "--output",        folder_.path(output)});
    for (int rank = 0; rank < ranks; ++rank) {
      const RankResult result = processes.wait(rank, kPatience);
      ASSERT_EQ(result.exit_code, 0) << result.text;
    }
  };
  train(1, "one", "none");
  for (const char* shard : {"none", "gradients", "parameters"}) {
    SCOPED_TRACE(shard);
    train(2, shard, shard);
    expect_same("one", shard, 4);
  }
}

// Towers over patches with a fused qkv, DeepStack, tiles: parts of the model under the names of their families.
TEST_F(Distributed, FamiliesAreLearntAsByOneProcess) {
  const std::string data = folder_.path("pictures.json"), pictures = golden_path("vlm/images");
  Json rows = Json::array();
  for (int i = 0; i < 8; ++i) {
    std::vector<std::string> images;
    if (i % 4 != 3) images.push_back(i % 2 == 0 ? "cat.png" : "small_square.png");
    rows.push_back(conversation_row("row" + std::to_string(i), images, "What is this?",
                                    "It is " + std::to_string(i) + "."));
  }
  std::ofstream(data) << rows.dump();
  for (const std::string family : {"qwen2_5_vl", "qwen3_vl", "internvl"}) {
    const auto train = [&](int ranks, const std::string& output, const std::string& shard) {
      RankProcesses processes(ranks, {ropescope_path(),  "train",
                                      "--model",         golden_path("vlm/" + family),
                                      "--data",          data,
                                      "--image-folder",  pictures,
                                      "--learning-rate", "2e-4",
                                      "--batch-size",    "2",
                                      "--accumulation",  "2",
                                      "--max-steps",     "2",
                                      "--threads",       "1",
                                      "--shard",         shard,
                                      "--output",        folder_.path(output)});
      for (int rank = 0; rank < ranks; ++rank) {
        const RankResult result = processes.wait(rank, kPatience);
        ASSERT_EQ(result.exit_code, 0) << result.text;
      }
    };
    train(1, family + "one", "none");
    for (const char* shard : {"gradients", "parameters"}) {
      SCOPED_TRACE(family + " " + shard);
      train(2, family + shard, shard);
      expect_same(family + "one", family + shard, 2);
    }
  }
}

TEST_F(Distributed, EveryShardingWritesTheCheckpointOfOneProcess) {
  ASSERT_EQ(run_ropescope(line("one", {"--max-steps", "20"}).substr(ropescope_path().size() + 1)).exit_code,
            0);
  for (const char* shard : {"none", "optimizer", "gradients", "parameters"}) {
    expect_run(2, shard, {"--max-steps", "20", "--shard", shard});
    expect_same("one", shard, 20);
  }
  const CommandResult inspected = run_ropescope("inspect --model " + checkpoint("parameters", 20));
  EXPECT_EQ(inspected.exit_code, 0) << inspected.err;
}

// Slices, sums and updates stay float32, and so does the checkpoint, which one process goes on from.
TEST_F(Distributed, Bfloat16PassesOverShardedParametersKeepFloat32) {
  const std::vector<std::string> more = {"--dtype", "bfloat16", "--max-steps", "6", "--save-every", "3"};
  std::vector<std::string> sharded = more;
  sharded.insert(sharded.end(), {"--shard", "parameters"});
  const auto alone = [&](const std::string& output, const std::vector<std::string>& flags) {
    const CommandResult result = run_ropescope(line(output, flags).substr(ropescope_path().size() + 1));
    ASSERT_EQ(result.exit_code, 0) << result.err;
  };
  alone("one", more);
  expect_run(2, "two", sharded);
  expect_same("one", "two", 6);
  for (const TensorInfo& info : open_checkpoint(checkpoint("two", 6) + "/model.safetensors")->tensors()) {
    EXPECT_EQ(info.dtype, "F32") << info.name;
  }
  fs::create_directories(folder_.path("on") + "/checkpoints");
  fs::copy(checkpoint("two", 3), checkpoint("on", 3), fs::copy_options::recursive);
  std::vector<std::string> resumed = more;
  resumed.insert(resumed.end(), {"--resume", "auto"});
  alone("on", resumed);
  expect_same("one", "on", 6);
}

TEST_F(Distributed, GoesOnWithAnotherNumberOfRanks) {
  expect_run(2, "two", {"--max-steps", "20", "--save-every", "10", "--shard", "parameters"});
  for (const int ranks : {1, 4}) {
    const std::string output = "on" + std::to_string(ranks);
    fs::create_directories(folder_.path(output) + "/checkpoints");
    fs::copy(checkpoint("two", 10), checkpoint(output, 10), fs::copy_options::recursive);
    const std::vector<std::string> more = {"--max-steps", "20",      "--resume",
                                           "auto",        "--shard", ranks == 4 ? "gradients" : "none"};
    if (ranks == 1) {
      const CommandResult result = run_ropescope(line(output, more).substr(ropescope_path().size() + 1));
      ASSERT_EQ(result.exit_code, 0) << result.err;
    } else {
      expect_run(ranks, output, more);
    }
    expect_same("two", output, 20);
  }
}

TEST_F(Distributed, ARankThatDiesEndsAllWithItsName) {
  expect_end_of_all(2, SIGKILL, "parameters");
  expect_end_of_all(0, SIGKILL, "none");
}

TEST_F(Distributed, ARankThatHangsEndsAllWithItsName) {
  expect_end_of_all(1, SIGSTOP, "gradients");
  expect_end_of_all(0, SIGSTOP, "optimizer");
}

TEST_F(Distributed, ARankThatNeverComesIsNamed) {
  RankProcesses processes(2, command("alone", {"--timeout", "2", "--max-steps", "5"}));
  kill(processes.pid(1), SIGKILL);
  const RankResult result = processes.wait(0, kPatience);
  EXPECT_EQ(result.exit_code, 4);
  EXPECT_NE(result.text.find("rank 1 of 2 did not come"), std::string::npos) << result.text;
}

TEST_F(Distributed, ASignalToOneRankSavesAndStopsAll) {
  RankProcesses processes(
      2, command("stopped", {"--max-steps", "1000000", "--save-every", "0", "--shard", "optimizer"}));
  wait_for_steps(processes);
  kill(processes.pid(1), SIGTERM);
  for (int rank = 0; rank < 2; ++rank) {
    const RankResult result = processes.wait(rank, kPatience);
    EXPECT_EQ(result.exit_code, 130) << result.text;
  }
  EXPECT_FALSE(fs::is_empty(folder_.path("stopped") + "/checkpoints"));
}

TEST_F(Distributed, ANonFiniteLossEndsAllWithFiveAndKeepsTheState) {
  const auto results = run(
      2, "diverged",
      {"--max-steps", "20", "--learning-rate", "1e38", "--schedule", "constant", "--shard", "parameters"});
  for (const RankResult& result : results) {
    EXPECT_EQ(result.exit_code, 5) << result.text;
    EXPECT_NE(result.text.find("rows of the"), std::string::npos) << result.text;
  }
  EXPECT_FALSE(fs::is_empty(folder_.path("diverged") + "/checkpoints"));
}

TEST_F(Distributed, ReportsMemoryOfEveryRank) {
  const auto results =
      run(4, "memory", {"--max-steps", "1", "--shard", "parameters", "--memory-report", "--json", "--quiet"});
  ASSERT_EQ(results[0].exit_code, 0) << results[0].text;
  const Json report = Json::parse(results[0].text).at("memory");
  ASSERT_EQ(report.at("ranks").size(), 4u);
  for (const Json& rank : report.at("ranks")) {
    for (const char* what : {"parameters_bytes", "gradients_bytes", "optimizer_bytes"}) {
      const double predicted = rank.at("predicted").at(what);
      EXPECT_NEAR(rank.at("measured").at(what).get<double>(), predicted, 0.02 * predicted) << what;
    }
  }
}

std::string find_program(const std::string& name) {
  const CommandResult found = run_ropescope("--version >/dev/null; command -v " + name);
  return found.out.substr(0, found.out.find('\n'));
}

// Started by `launcher`, two ranks come to what one process comes to.
void expect_launched(const std::string& launcher, const std::string& own, const std::string& alone) {
  ASSERT_EQ(run_ropescope(alone).exit_code, 0);
  const CommandResult result = run_ropescope("--version >/dev/null; " + launcher + " " + own);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.err.find("2 ranks"), std::string::npos) << result.err;
}

TEST_F(Distributed, MpirunStartsIt) {
  const std::string mpirun = find_program("mpirun");
  if (mpirun.empty()) GTEST_SKIP() << "no mpirun";
  expect_launched(mpirun + " --allow-run-as-root --oversubscribe -n 2",
                  line("mpi", {"--max-steps", "5", "--shard", "parameters"}),
                  line("one", {"--max-steps", "5"}).substr(ropescope_path().size() + 1));
  expect_same("one", "mpi", 5);
}

TEST_F(Distributed, TorchrunStartsIt) {
  const char* given = std::getenv("ROPESCOPE_TORCHRUN");
  const std::string torchrun = given != nullptr ? given : find_program("torchrun");
  if (torchrun.empty()) {
    GTEST_SKIP()
        << "no torchrun in PATH, and ROPESCOPE_TORCHRUN names none (it comes with the full torch wheel)";
  }
  expect_launched(torchrun + " --nproc-per-node 2 --no-python",
                  line("torchrun", {"--max-steps", "5", "--shard", "parameters"}),
                  line("one", {"--max-steps", "5"}).substr(ropescope_path().size() + 1));
  expect_same("one", "torchrun", 5);
}

}  // namespace
}  // namespace ropescope
