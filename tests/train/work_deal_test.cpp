// Items that several processes share.
#include "ropescope/train/work_deal.h"

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <map>
#include <thread>

#include <gtest/gtest.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"

#include "tests/support/golden.h"
#include "tests/support/ranks.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

constexpr const char* kFolderVariable = "ROPESCOPE_TEST_FOLDER";

std::string folder_of_test() {
  const char* folder = std::getenv(kFolderVariable);
  return folder == nullptr ? "" : folder;
}

Meeting::Settings test_settings() {
  Meeting::Settings settings;
  settings.timeout = std::chrono::seconds(20);
  settings.on_lost = [](const std::string& message) {
    std::fprintf(stderr, "%s\n", message.c_str());
    std::_Exit(4);
  };
  return settings;
}

TEST(DealtWork, AloneTakesAllInOrder) {
  DealtWork work(Launch(), {});
  EXPECT_TRUE(work.alone() && work.leads());
  work.deal({3, 1, 4}, Json::object());
  std::vector<int64_t> taken;
  while (const auto item = work.next()) taken.push_back(*item);
  work.finish();
  EXPECT_EQ(taken, (std::vector<int64_t>{3, 1, 4}));
  EXPECT_EQ(work.next(), std::nullopt);
}

// Each item is somebody's, once; rank 0 returns when the slowest is done. The list is rank 0's.
TEST(DealtWork, DISABLED_Rank) {
  const Launch launch = read_launch(process_environment());
  DealtWork work(launch, test_settings());
  std::vector<int64_t> open;
  for (int64_t i = 0; i < 40 && work.leads(); ++i) open.push_back(i * i);
  work.deal(open, Json{{"data", "the same"}});
  EXPECT_EQ(work.items(), 40);
  const std::string own = folder_of_test() + "/" + std::to_string(launch.rank);
  {
    std::ofstream taken(own);
    while (const auto item = work.next()) {
      taken << *item << "\n";
      std::this_thread::sleep_for(std::chrono::milliseconds(launch.rank == 2 ? 60 : 2));
    }
  }
  std::ofstream(own + ".done") << "done";
  work.finish();
  for (int64_t rank = 0; work.leads() && rank < launch.world; ++rank) {
    EXPECT_TRUE(std::ifstream(folder_of_test() + "/" + std::to_string(rank) + ".done").good()) << rank;
  }
}

TEST(DealtWork, EveryItemIsTakenOnce) {
  const TemporaryFolder folder;
  for (const RankResult& result : run_test_ranks(3, "DealtWork.DISABLED_Rank", {{kFolderVariable, folder.path("")}}))
    ASSERT_EQ(result.exit_code, 0) << result.text;
  std::map<int64_t, int> times;
  for (int rank = 0; rank < 3; ++rank) {
    std::ifstream taken(folder.path(std::to_string(rank)));
    for (int64_t item = 0; taken >> item;) ++times[item];
  }
  ASSERT_EQ(times.size(), 40u);
  for (int64_t i = 0; i < 40; ++i) EXPECT_EQ(times[i * i], 1) << i * i;
}

TEST(DealtWork, DISABLED_RankOfAnotherRun) {
  const Launch launch = read_launch(process_environment());
  DealtWork work(launch, test_settings());
  const Json subject = {{"data", "questions"}, {"sha256", launch.rank == 0 ? "aa" : "bb"}};
  if (work.leads()) {
    work.deal({1}, subject);
    std::this_thread::sleep_for(std::chrono::seconds(20));  // until the other one's failure ends it
    return;
  }
  try {
    work.deal({}, subject);
    FAIL() << "another run's work was taken";
  } catch (const EnvironmentError& error) {
    EXPECT_STREQ(
        error.what(),
        "rank 1: expected the files and settings of rank 0, found others (sha256: \"aa\" there, \"bb\" here)");
    work.announce_failure(error.what());
  }
}

TEST(DealtWork, AnotherRunIsNamedWithWhatDiffers) {
  const auto results = run_test_ranks(2, "DealtWork.DISABLED_RankOfAnotherRun", {});
  EXPECT_EQ(results[1].exit_code, 0) << results[1].text;
  EXPECT_EQ(results[0].exit_code, 4) << results[0].text;
  EXPECT_NE(results[0].text.find("sha256: \"aa\" there"), std::string::npos) << results[0].text;
}

}  // namespace
}  // namespace ropescope
