// Exchanges between processes against sums taken by one, and work that goes on beside the thread that asked for it.
#include "ropescope/train/process_group.h"

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "ropescope/core/device.h"
#include "ropescope/core/errors.h"
#include "ropescope/train/background_jobs.h"
#include "ropescope/train/peer_memory.h"
#include "ropescope/train/spare_memory.h"

#include "tests/support/golden.h"
#include "tests/support/ranks.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

// What is sent, what is read piece by piece where ranks can read each other, and ends in the middle of a piece.
constexpr int64_t kSlices[] = {48, 20001, 300016};

// What rank r has in exchange e: no two of them alike, and sums that a float32 does not hold exactly.
at::Tensor numbers_of(int64_t rank, int64_t exchange, int64_t count) {
  return at::arange(count, at::kFloat)
      .mul(0.1)
      .add(static_cast<double>(rank) * 1e3 + 7.3 * static_cast<double>(exchange));
}

ProcessGroup meet_others() {
  ProcessGroup::Settings settings;
  settings.read_peers = !process_environment()("ROPESCOPE_TEST_SEND");
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
  std::vector<at::Tensor> gathered, slices, wholes;
  std::vector<ProcessGroup::Pending> pending;
  int64_t e = 0;
  for (const int64_t n : kSlices) {
    gathered.push_back(at::zeros({world * n}, at::kFloat));
    // (a slice of its own, and one that lies where it belongs)
    const at::Tensor place = gathered.back().narrow(0, rank * n, n);
    at::Tensor own = numbers_of(rank, e, n);
    if (e == 1) own = place.copy_(own);
    pending.push_back(group.all_gather(gathered.back(), own));
    const at::Tensor values = numbers_of(rank, e, world * n);
    slices.push_back(e == 1 ? values.narrow(0, rank * n, n) : at::empty({n}, at::kFloat));
    pending.push_back(group.reduce_scatter(slices.back(), values));
    wholes.push_back(numbers_of(rank, e, world * n + 1));  // (no multiple of the ranks)
    pending.push_back(group.all_reduce(wholes.back()));
    ++e;
  }
  for (const ProcessGroup::Pending& one : pending) one();
  e = 0;
  for (const int64_t n : kSlices) {
    const auto at = static_cast<size_t>(e);
    at::Tensor sum = numbers_of(0, e, world * n + 1);
    for (int64_t r = 0; r < world; ++r) {
      EXPECT_TRUE(gathered[at].narrow(0, r * n, n).equal(numbers_of(r, e, n))) << e << " " << r;
      if (r > 0) sum = sum.add(numbers_of(r, e, world * n + 1));  // in the order of the ranks, to the bit
    }
    EXPECT_TRUE(slices[at].equal(sum.narrow(0, rank * n, n))) << e;
    const double scale = sum.abs().max().item<double>();  // (Gloo adds up in an order of its own)
    EXPECT_LE(wholes[at].sub(sum).abs().max().item<double>(), 1e-6 * scale) << e;
    ++e;
  }
  group.barrier();
}

// What each rank can have of the others, straight from where it lies; and what is not there any more is said.
TEST(Rank, DISABLED_Reads) {
  if (!process_environment()("ROPESCOPE_TEST_OUTPUT")) GTEST_SKIP() << "started by the other tests";
  const ProcessGroup group = meet_others();
  const auto rank = static_cast<int>(group.rank()), world = static_cast<int>(group.world());
  const PeerMemory memory(rank, world, [&](const std::string& text) { return group.gather_texts(text); });
  EXPECT_FALSE(memory.can_read(rank, rank));
  if (!memory.all_can_read()) GTEST_SKIP() << "this machine does not let processes read each other";
  const at::Tensor own = numbers_of(rank, 0, kSlices[2]);
  const at::Tensor all = group.gather_numbers(
      at::tensor({static_cast<int64_t>(reinterpret_cast<uintptr_t>(own.const_data_ptr()))}, at::kLong));
  for (int peer = 0; peer < world; ++peer) {
    if (peer == rank) continue;
    const at::Tensor copy = at::zeros_like(own);
    memory.read(peer, static_cast<uint64_t>(all[peer][0].item<int64_t>()), copy.mutable_data_ptr(),
                copy.nbytes());
    EXPECT_TRUE(copy.equal(numbers_of(peer, 0, kSlices[2]))) << peer;
    EXPECT_THROW(memory.read(peer, 0, copy.mutable_data_ptr(), copy.nbytes()), EnvironmentError);
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

void expect_ranks(int ranks, const std::string& test, const std::string& send = "") {
  const TemporaryFolder folder;
  for (const RankResult& result : run_test_ranks(
           ranks, test, {{"ROPESCOPE_TEST_OUTPUT", folder.path("")}, {"ROPESCOPE_TEST_SEND", send}})) {
    EXPECT_EQ(result.exit_code, 0) << result.text;
  }
}

TEST(ProcessGroup, ExchangesAreThoseOfOneProcess) {
  expect_ranks(2, "Rank.DISABLED_Exchanges");
  expect_ranks(3, "Rank.DISABLED_Exchanges");
}

TEST(ProcessGroup, ExchangesAreTheSameBetweenRanksThatCannotReadEachOther) {
  expect_ranks(3, "Rank.DISABLED_Exchanges", "yes");
}

// Where this is skipped, nothing of the two tests above was read.
TEST(ProcessGroup, ReadsTheMemoryOfOthersOfThisMachine) { expect_ranks(3, "Rank.DISABLED_Reads"); }

TEST(ProcessGroup, AWaitCanBeGivenUp) { expect_ranks(2, "Rank.DISABLED_GivesUp"); }

TEST(SpareMemory, AreGivenToWhoAsksForAsManyBytes) {
  auto pool = std::make_unique<SpareMemory>(2);
  const SpareMemory& memory = *pool;
  const at::TensorOptions options = at::TensorOptions(at::kFloat);
  at::Tensor first = memory.flat(options, 1000), second = memory.flat(options, 1000),
             third = memory.flat(options, 7);
  const void *a = first.const_data_ptr(), *b = second.const_data_ptr(), *c = third.const_data_ptr();
  EXPECT_NE(a, b);
  first.reset();
  second.reset();
  EXPECT_EQ(memory.flat(options, 1000).const_data_ptr(), b);  // what was used last
  EXPECT_EQ(memory.flat(options.dtype(at::kBFloat16), 2000).const_data_ptr(), b);
  third.reset();  // the third of two: the oldest goes
  EXPECT_EQ(memory.flat(options, 7).const_data_ptr(), c);
  at::Tensor kept = memory.flat(options, 1000);
  EXPECT_EQ(kept.const_data_ptr(), b);
  kept.fill_(1.0);
  pool.reset();
  EXPECT_EQ(kept.sum().item<double>(), 1000.0);  // outlives where it came from
}

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
