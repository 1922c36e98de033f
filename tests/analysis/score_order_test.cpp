// Orders of scores, counted by merging and by signs, against looking at every two of them.
#include "ropescope/analysis/score_order.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <boost/random/normal_distribution.hpp>
#include <boost/random/uniform_int_distribution.hpp>
#include <gtest/gtest.h>

#include "ropescope/core/random.h"

namespace ropescope {
namespace {

/// By the definition: near first, equal scores a half.
double falling_by_definition(const std::vector<double>& scores) {
  double falling = 0, all = 0;
  for (size_t m = 0; m < scores.size(); ++m) {
    for (size_t n = m + 1; n < scores.size(); ++n) {
      falling += scores[m] > scores[n] ? 1.0 : scores[m] == scores[n] ? 0.5 : 0.0;
      ++all;
    }
  }
  return falling / all;
}

double flips_by_definition(const std::vector<double>& differences) {
  double flips = 0, all = 0;
  for (size_t m = 0; m < differences.size(); ++m) {
    for (size_t n = 0; n < differences.size(); ++n) {
      if (m == n) continue;
      const double product = differences[m] * differences[n];
      flips += product < 0 ? 1.0 : product == 0 ? 0.5 : 0.0;
      ++all;
    }
  }
  return flips / all;
}

double falling(std::vector<double> scores) {
  std::vector<double> scratch, sorted = scores;
  std::sort(sorted.begin(), sorted.end());
  const double share = share_in_falling_order(scores.data(), static_cast<int64_t>(scores.size()), scratch);
  EXPECT_EQ(scores, sorted);
  return share;
}

TEST(ScoreOrder, MergingCountsWhatTheDefinitionDoes) {
  Rng rng = make_rng(7, {1});
  boost::random::normal_distribution<double> normal;
  boost::random::uniform_int_distribution<int> few(-2, 2);
  for (int64_t size = 2; size <= 70; ++size) {
    std::vector<double> scores, ties;
    for (int64_t i = 0; i < size; ++i) {
      scores.push_back(normal(rng));
      ties.push_back(few(rng));
    }
    EXPECT_DOUBLE_EQ(falling(scores), falling_by_definition(scores)) << size;
    EXPECT_DOUBLE_EQ(falling(ties), falling_by_definition(ties)) << size;
    EXPECT_NEAR(share_of_flips(scores.data(), size), flips_by_definition(scores), 1e-14) << size;
    EXPECT_NEAR(share_of_flips(ties.data(), size), flips_by_definition(ties), 1e-14) << size;
  }
}

TEST(ScoreOrder, EndsOfTheScale) {
  std::vector<double> down, up, flat(33, 1.5);
  for (int i = 0; i < 33; ++i) {
    down.push_back(-i);
    up.push_back(i);
  }
  EXPECT_EQ(falling(down), 1.0);
  EXPECT_EQ(falling(up), 0.0);
  EXPECT_EQ(falling(flat), 0.5);
  EXPECT_EQ(share_of_flips(flat.data(), 33), 0.0);
  const std::vector<double> turned = {1, -1}, none = {0, 0, 0};
  EXPECT_EQ(share_of_flips(turned.data(), 2), 1.0);
  EXPECT_EQ(share_of_flips(none.data(), 3), 0.5);
}

TEST(ScoreOrder, DistancesStandForTheirParts) {
  const at::Tensor all = spread_distances(100, 0, 3, 0), few = spread_distances(100, 100, 3, 0);
  EXPECT_EQ(all.numel(), 100);
  EXPECT_TRUE(all.equal(few));
  EXPECT_EQ(all[99].item<int64_t>(), 99);
  const at::Tensor drawn = spread_distances(1003, 64, 3, 5);
  ASSERT_EQ(drawn.numel(), 64);
  for (int64_t i = 0; i < 64; ++i) {
    EXPECT_GE(drawn[i].item<int64_t>(), i * 1003 / 64);
    EXPECT_LT(drawn[i].item<int64_t>(), (i + 1) * 1003 / 64);
  }
  EXPECT_TRUE(drawn.equal(spread_distances(1003, 64, 3, 5)));
  EXPECT_FALSE(drawn.equal(spread_distances(1003, 64, 4, 5)));
  EXPECT_FALSE(drawn.equal(spread_distances(1003, 64, 3, 6)));
  EXPECT_EQ(spread_points(1003, 64), 64);
  EXPECT_EQ(spread_points(64, 64), 64);
  EXPECT_EQ(spread_points(1003, 0), 1003);
  // Every distance of a part is as likely: the first part of 1003 in 64 is 0..14.
  std::vector<double> counts(15, 0);
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    ++counts[static_cast<size_t>(spread_distances(1003, 64, seed, 5)[0].item<int64_t>())];
  }
  for (const double count : counts) EXPECT_NEAR(count, 200, 70);  // five standard deviations
}

}  // namespace
}  // namespace ropescope
