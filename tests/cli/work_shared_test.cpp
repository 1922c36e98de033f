// sample, attention and evaluate in several processes: the files of one process, and what becomes of a rank that is lost.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/core/file.h"
#include "ropescope/core/json.h"

#include "tests/cli/evaluate_runs.h"
#include "tests/support/golden.h"
#include "tests/support/ranks.h"
#include "tests/support/tiny_llava.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
using ::testing::HasSubstr;
using ::testing::Not;
namespace fs = std::filesystem;

using Words = std::vector<std::string>;

constexpr double kShareSeconds = 120;

class SharedRuns : public ::testing::Test {
 protected:
  /// Provenance is the same but for the time, which this sets.
  static RankResult run_alone(const Words& words) { return run_ranks(1, words).front(); }

  static std::vector<RankResult> run_ranks(int ranks, const Words& words) {
    RankProcesses processes(ranks, with_program(words), {{"SOURCE_DATE_EPOCH", "1"}});
    std::vector<RankResult> results;
    for (int rank = 0; rank < ranks; ++rank) results.push_back(processes.wait(rank, kShareSeconds));
    return results;
  }

  static void expect_ranks(int ranks, const Words& words) {
    for (const RankResult& result : run_ranks(ranks, words)) ASSERT_EQ(result.exit_code, 0) << result.text;
  }

  /// Rank 1 of two is stopped as soon as both have met, and killed when rank 0 has `kept` something; rank 0 ends, naming it
  /// and what to do.
  static void expect_a_lost_rank_is_named(const Words& words, const std::function<bool()>& kept) {
    RankProcesses processes(2, with_program(and_more(words, {"--timeout", "10"})),
                            {{"SOURCE_DATE_EPOCH", "1"}});
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(kShareSeconds);
    const auto wait_until = [&](const std::function<bool()>& there) {
      while (!there()) {
        ASSERT_LT(std::chrono::steady_clock::now(), end) << processes.text(0);
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
    };
    wait_until([&] { return processes.text(0).find("2 ranks") != std::string::npos; });
    kill(processes.pid(1), SIGSTOP);
    wait_until(kept);
    kill(processes.pid(1), SIGKILL);
    const RankResult first = processes.wait(0, kShareSeconds);
    EXPECT_EQ(first.exit_code, 4) << first.text;
    EXPECT_THAT(first.text, HasSubstr("rank 1 (process "));
    EXPECT_THAT(first.text, HasSubstr("was lost"));
    EXPECT_THAT(first.text, HasSubstr("--resume"));
  }

  /// Parts that an interrupted run left.
  int64_t parts() const {
    std::error_code none;
    int64_t count = 0;
    for (const auto& entry : fs::directory_iterator(folder_.path("s.h5.parts"), none)) {
      count += entry.path().filename().string().rfind("part-", 0) == 0 ? 1 : 0;
    }
    return count;
  }

  /// Runs into "s.h5", which is then moved to `name`: so that the command line in the file is the same.
  std::string bytes_of_result(const std::string& name) const {
    fs::rename(folder_.path("s.h5"), folder_.path(name));
    EXPECT_FALSE(fs::exists(folder_.path("s.h5.parts"))) << "the parts of a complete run stay";
    return read_file(folder_.path(name));
  }

  static Words with_program(const Words& words) {
    Words all = {ropescope_path()};
    all.insert(all.end(), words.begin(), words.end());
    return all;
  }

  static Words and_more(Words words, const Words& more) {
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  Words sampling(int texts) const {
    std::ofstream corpus(folder_.path("texts.jsonl"));
    for (int i = 0; i < texts; ++i) {
      const std::string text =
          "Text number " + std::to_string(i * i) + " of a corpus" + std::string(i % 5, '!');
      corpus << Json{{"text", text}}.dump() << "\n";
    }
    return {"sample",
            "--model",
            golden_path("language/llama-tiny/safetensors-fp32"),
            "--texts",
            folder_.path("texts.jsonl"),
            "--max-texts",
            std::to_string(texts),
            "--min-tokens",
            "8",
            "--tokens-per-pass",
            "60",
            "--moments",
            "--profile",
            "--threads",
            "1",
            "--output",
            folder_.path("s.h5")};
  }

  TemporaryFolder folder_;
};

// Sums over texts are added up in the texts' order, whoever took them: not a bit differs, nor the files' bytes.
TEST_F(SharedRuns, SamplesOfSeveralProcessesAreTheFileOfOne) {
  for (const char* weights : {"resident", "streamed"}) {
    SCOPED_TRACE(weights);
    const Words words = and_more(sampling(23), {"--weights", weights, "--seed", "7"});
    ASSERT_EQ(run_alone(words).exit_code, 0);
    const std::string one = bytes_of_result("one.h5");
    for (const int ranks : {2, 3}) {
      expect_ranks(ranks, words);
      EXPECT_TRUE(bytes_of_result("some.h5") == one) << ranks << " processes wrote another file";
    }
  }
}

TEST_F(SharedRuns, TextsOfALostRankAreTakenOnResume) {
  const Words words = and_more(sampling(40), {"--weights", "resident"});
  ASSERT_EQ(run_alone(words).exit_code, 0);
  const std::string one = bytes_of_result("one.h5");
  expect_a_lost_rank_is_named(and_more(words, {"--save-every", "1000"}), [&] { return parts() >= 3; });
  EXPECT_FALSE(fs::exists(folder_.path("s.h5")));
  // What the lost rank was at: a part that is not there, and one that was never finished.
  const auto part = [&](const std::string& name) { return folder_.path("s.h5.parts/" + name); };
  fs::remove(part("part-000000.safetensors"));
  fs::rename(part("part-000002.safetensors"), part(".part-000002.4711.tmp.safetensors"));
  fs::copy(folder_.path("s.h5.parts"), folder_.path("left"));
  for (const int ranks : {1, 3}) {
    SCOPED_TRACE(ranks);
    if (ranks > 1) fs::copy(folder_.path("left"), folder_.path("s.h5.parts"));
    const RankResult other = run_alone(and_more(words, {"--resume", "--seed", "9"}));
    EXPECT_EQ(other.exit_code, 3);
    EXPECT_THAT(other.text, HasSubstr("it belongs to another run (seed: 0 then, 9 now)"));
    const RankResult leads = run_ranks(ranks, and_more(words, {"--resume"})).front();
    ASSERT_EQ(leads.exit_code, 0) << leads.text;
    EXPECT_THAT(leads.text, HasSubstr(" passes are done"));
    EXPECT_THAT(leads.text, Not(HasSubstr("starts from the beginning")));
    // (the command line says --resume, so bytes differ: the numbers do not)
    const CommandResult same =
        run_ropescope("compare --rtol 0 --atol 0 " + folder_.path("one.h5") + " " + folder_.path("s.h5"));
    EXPECT_EQ(same.exit_code, 0) << same.out;
    bytes_of_result("resumed.h5");
  }
}

TEST_F(SharedRuns, AttentionOfSeveralProcessesIsThatOfOne) {
  write_tiny_llava(folder_.path(""));
  const auto write_corpus = [&](const std::string& text) {
    std::ofstream(folder_.path("corpus.txt")) << text << " that lie between picture and question.\n";
  };
  write_corpus("Some words");
  const Words words = {"attention",
                       "--model",
                       folder_.path(""),
                       "--image",
                       synthetic_image("rgba_64x41.png") + "," + synthetic_image("gray_37x53.png") + "," +
                           synthetic_image("strip_3x200.png"),
                       "--prompt",
                       "What is shown in this picture of things that are seen from far away?",
                       "--schemes",
                       "vanilla;id-align",
                       "--queries",
                       "text",
                       "--sinks",
                       "--drift",
                       "--null-draws",
                       "19",
                       "--distractor",
                       folder_.path("corpus.txt"),
                       "--text-lengths",
                       "0,8",
                       "--threads",
                       "1",
                       "--output",
                       folder_.path("s.h5")};
  const auto expect_same = [&](const std::string& name) {
    bytes_of_result(name);
    const CommandResult same =
        run_ropescope("compare --rtol 0 --atol 0 " + folder_.path("one.h5") + " " + folder_.path(name));
    EXPECT_EQ(same.exit_code, 0) << same.out;
  };
  const RankResult one = run_alone(and_more(words, {"--quiet", "--csv"}));
  ASSERT_EQ(one.exit_code, 0) << one.text;
  bytes_of_result("one.h5");
  const auto two = run_ranks(2, and_more(words, {"--quiet", "--csv"}));
  ASSERT_EQ(two[0].exit_code, 0) << two[0].text;
  ASSERT_EQ(two[1].exit_code, 0) << two[1].text;
  EXPECT_EQ(two[0].text, one.text);
  EXPECT_THAT(two[1].text, Not(HasSubstr("visual_share"))) << "the table is printed twice";
  expect_same("two.h5");

  expect_a_lost_rank_is_named(words, [&] { return parts() >= 2; });
  fs::remove(folder_.path("s.h5.parts/part-000001.h5"));
  const int64_t left = parts();
  ASSERT_GT(left, 0);
  write_corpus("Other words");
  const RankResult other = run_alone(and_more(words, {"--resume"}));
  EXPECT_EQ(other.exit_code, 3);
  EXPECT_THAT(other.text, HasSubstr("it belongs to another run (sha256 of corpus.txt: "));
  write_corpus("Some words");
  const RankResult alone = run_alone(and_more(words, {"--resume"}));
  ASSERT_EQ(alone.exit_code, 0) << alone.text;
  EXPECT_THAT(alone.text, HasSubstr("measured already: " + std::to_string(left) + " of 6"));
  expect_same("resumed.h5");
}

TEST_F(SharedRuns, OneInputUnderOneSchemeCannotBeShared) {
  const Words words = {"attention", "--model",    golden_path("language/llama-tiny/safetensors-fp32"),
                       "--prompt",  "A question", "--schemes",
                       "vanilla",   "--output",   folder_.path("s.h5")};
  for (const RankResult& result : run_ranks(2, words)) {
    EXPECT_THAT(result.text, HasSubstr("expected several inputs or schemes to share among 2 processes"));
    EXPECT_THAT(result.exit_code,
                ::testing::AnyOf(2, 4));  // (who hears of the other's error first ends with 4)
  }
  EXPECT_FALSE(fs::exists(folder_.path("s.h5")));
}

// The answers, their order, and what comes of them.
TEST_F(SharedRuns, QuestionsOfALostRankAreAskedOnResume) {
  write_tiny_llava(folder_.path(""));
  std::ofstream items(folder_.path("items.jsonl"));
  for (int i = 0; i < 12; ++i) {
    items << Json{{"question", "Is number " + std::to_string(i * i) + " red?"},
                  {"answer", i % 2 == 0 ? "yes" : "no"}}
                 .dump()
          << "\n";
  }
  items.close();
  const auto asking = [&](const std::string& output) {
    return Words{"evaluate",
                 "--model",
                 folder_.path(""),
                 "--benchmark",
                 "pope",
                 "--data",
                 folder_.path("items.jsonl"),
                 "--max-new-tokens",
                 "6",
                 "--batch-tokens",
                 "60",
                 "--threads",
                 "1",
                 "--output",
                 folder_.path(output)};
  };
  const auto samples = [&](const std::string& output) {
    return read_file(folder_.path(output) + "/samples.jsonl");
  };
  ASSERT_EQ(run_alone(asking("one")).exit_code, 0);
  expect_ranks(2, asking("two"));
  EXPECT_EQ(samples("two"), samples("one"));
  const CommandResult same = run_ropescope("compare --rtol 0 --atol 0 " + folder_.path("one") +
                                           "/result.h5 " + folder_.path("two") + "/result.h5");
  EXPECT_EQ(same.exit_code, 0) << same.out;

  const std::string file = "/samples.rank-0.jsonl";
  const auto lines = [&] {
    std::ifstream stream(folder_.path("lost") + file);
    return std::count(std::istreambuf_iterator<char>(stream), {}, '\n');
  };
  expect_a_lost_rank_is_named(asking("lost"), [&] { return lines() >= 3; });
  // Of the answers of rank 0 the last one is half written.
  fs::resize_file(folder_.path("lost") + file, fs::file_size(folder_.path("lost") + file) - 20);
  fs::copy(folder_.path("lost"), folder_.path("lost-1"));
  fs::copy(folder_.path("lost"), folder_.path("lost-3"));
  for (const int ranks : {1, 3}) {
    const std::string output = "lost-" + std::to_string(ranks);
    expect_ranks(ranks, and_more(asking(output), {"--resume"}));
    EXPECT_EQ(samples(output), samples("one"));
    EXPECT_EQ(summary_in(folder_.path(output)).at("aggregates"),
              summary_in(folder_.path("one")).at("aggregates"));
    EXPECT_LT(summary_in(folder_.path(output)).at("asked_now").get<int64_t>(), 12);
    EXPECT_FALSE(fs::exists(folder_.path(output) + file));
  }
}

}  // namespace
}  // namespace ropescope
