#include "ropescope/core/parallel.h"

#include <stdexcept>
#include <vector>

#include <gtest/gtest.h>

namespace ropescope {
namespace {

TEST(ParallelChunks, CoverEveryIndexOnce) {
  for (const int threads : {1, 2, 7}) {
    for (const int64_t count : {0, 1, 10, 1003}) {
      std::vector<int> visits(static_cast<size_t>(count), 0);
      parallel_chunks(count, 10, threads, [&](int64_t begin, int64_t end) {
        ASSERT_LE(end, count);
        for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(i)];
      });
      EXPECT_EQ(visits, std::vector<int>(static_cast<size_t>(count), 1)) << threads << " threads";
    }
  }
}

TEST(ParallelChunks, AnErrorOfAnyThreadReachesTheCaller) {
  const auto fail = [](int64_t begin, int64_t) {
    if (begin == 500) throw std::runtime_error("at 500");
  };
  EXPECT_THROW(parallel_chunks(1000, 1, 3, fail), std::runtime_error);
}

}  // namespace
}  // namespace ropescope
