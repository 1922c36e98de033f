// Exchanges between processes against sums taken by one, and work that goes on beside the thread that asked for it.
#include "ropescope/train/process_group.h"

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/device.h"
#include "ropescope/core/errors.h"
#include "ropescope/train/background_jobs.h"

#include "tests/support/golden.h"
#include "tests/support/ranks.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

constexpr int64_t kSlice = 48;

// What rank r has in exchange e: no two of them alike, and sums that a float32 does not hold exactly.
at::Tensor numbers_of(int64_t rank, int64_t exchange, int64_t count) {
  return at::arange(count, at::kFloat)
      .mul(0.1)
      .add(static_cast<double>(rank) * 1e3 + 7.3 * static_cast<double>(exchange));
}

ProcessGroup meet_others() {
  ProcessGroup::Settings settings;
  settings.timeout = std::chrono::seconds(60);
  settings.on_lost = [](const std::string& message) {
    fprintf(stderr, "%s\n", message.c_str());
    std::_Exit(4);
  };
  return {read_launch(process_environment()), settings};
}

// One rank; started by the tests below. Ends with the number of what was wrong.
TEST(Rank, DISABLED_Exchanges) {
  if (!process_environment()("ROPESCOPE_TEST_OUTPUT")) GTEST_SKIP() << "started by the other tests";
  set_threads(1);
  const ProcessGroup group = meet_others();
  const int64_t world = group.world(), rank = group.rank();
  constexpr int64_t kAtOnce = 3;
  std::vector<at::Tensor> gathered, slices;
  std::vector<ProcessGroup::Pending> pending;
  for (int64_t e = 0; e < kAtOnce; ++e) {
    gathered.push_back(at::zeros({world * kSlice}, at::kFloat));
    // (a slice of its own, and one that lies where it belongs)
    const at::Tensor place = gathered.back().narrow(0, rank * kSlice, kSlice);
    at::Tensor own = numbers_of(rank, e, kSlice);
    if (e == 1) own = place.copy_(own);
    pending.push_back(group.all_gather(gathered.back(), own));
    slices.push_back(at::empty({kSlice}, at::kFloat));
    pending.push_back(group.reduce_scatter(slices.back(), numbers_of(rank, e, world * kSlice)));
  }
  for (const ProcessGroup::Pending& one : pending) one();
  for (int64_t e = 0; e < kAtOnce; ++e) {
    const at::Tensor& all = gathered[static_cast<size_t>(e)];
    at::Tensor sum = numbers_of(0, e, world * kSlice);
    for (int64_t r = 0; r < world; ++r) {
      EXPECT_TRUE(all.narrow(0, r * kSlice, kSlice).equal(numbers_of(r, e, kSlice))) << e << " " << r;
      if (r > 0) sum = sum.add(numbers_of(r, e, world * kSlice));  // in the order of the ranks, to the bit
    }
    EXPECT_TRUE(slices[static_cast<size_t>(e)].equal(sum.narrow(0, rank * kSlice, kSlice))) << e;
  }
  group.barrier();
}

// A rank that waits for what never comes is let go by another thread, and says so.
TEST(Rank, DISABLED_GivesUp) {
  if (!process_environment()("ROPESCOPE_TEST_OUTPUT")) GTEST_SKIP() << "started by the other tests";
  set_threads(1);
  ProcessGroup group = meet_others();
  group.barrier();
  if (group.rank() == 0) {
    std::thread other([&group] {
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
      group.give_up();
    });
    EXPECT_THROW(group.barrier(), EnvironmentError);
    EXPECT_THROW(group.barrier(), EnvironmentError);  // and all that come later
    other.join();
  } else {
    std::this_thread::sleep_for(std::chrono::seconds(1));  // (alive, but does not come)
  }
}

void expect_ranks(int ranks, const std::string& test) {
  const TemporaryFolder folder;
  for (const RankResult& result : run_test_ranks(ranks, test, {{"ROPESCOPE_TEST_OUTPUT", folder.path("")}})) {
    EXPECT_EQ(result.exit_code, 0) << result.text;
  }
}

TEST(ProcessGroup, ExchangesAreThoseOfOneProcess) {
  expect_ranks(2, "Rank.DISABLED_Exchanges");
  expect_ranks(3, "Rank.DISABLED_Exchanges");
}

TEST(ProcessGroup, AWaitCanBeGivenUp) { expect_ranks(2, "Rank.DISABLED_GivesUp"); }

TEST(BackgroundJobs, AreDoneInOrderBesideWhoAsked) {
  std::vector<int> done;
  BackgroundJobs jobs;
  std::atomic<bool> open = false;
  jobs.add([&open] {
    while (!open) std::this_thread::yield();
  });
  BackgroundJobs::Ticket last = 0;
  for (int i = 0; i < 5; ++i) last = jobs.add([&done, i] { done.push_back(i); });
  EXPECT_FALSE(jobs.done(last));  // this thread has not waited for any
  EXPECT_FALSE(jobs.idle());
  open = true;
  jobs.wait(last);
  EXPECT_EQ(done, (std::vector<int>{0, 1, 2, 3, 4}));
  jobs.wait_until_idle();
  EXPECT_TRUE(jobs.idle());
}

TEST(BackgroundJobs, AfterAFailureNoneIsBegun) {
  BackgroundJobs jobs;
  bool later = false;
  const BackgroundJobs::Ticket first = jobs.add([] {});
  jobs.add([] { throw std::runtime_error("broken"); });
  const BackgroundJobs::Ticket last = jobs.add([&later] { later = true; });
  EXPECT_THROW(jobs.wait(last), std::runtime_error);
  EXPECT_THROW(jobs.wait(last), std::runtime_error);
  jobs.wait(first);  // that one was done
  jobs.wait_until_idle();
  EXPECT_FALSE(later);
}

}  // namespace
}  // namespace ropescope
