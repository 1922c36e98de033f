// Where made-up curves cross, by hand; their summary over seeds.
#include "miniature/crossings.h"

#include <cmath>

#include <gtest/gtest.h>

namespace ropescope::miniature {
namespace {

const std::vector<int64_t> kLengths = {0, 64, 256, 1024};

TEST(Crossings, AreInterpolatedOnTheLogarithm) {
  // From +0.3 at 64 to -0.1 at 256: three quarters of the way on ln(1 + L).
  const auto found = crossing_of(kLengths, {0.5, 0.3, -0.1, -0.2}, 0.02);
  ASSERT_TRUE(found);
  EXPECT_NEAR(found->length, 65.0 * std::pow(257.0 / 65.0, 0.75) - 1, 1e-9);
  EXPECT_TRUE(found->falls);
  EXPECT_EQ(found->changes, 1);
  // From no text at all: halfway from ln 1 to ln 65.
  const auto early = crossing_of(kLengths, {-0.2, 0.2, 0.2, 0.2}, 0.02);
  ASSERT_TRUE(early);
  EXPECT_NEAR(early->length, std::sqrt(65.0) - 1, 1e-9);
  EXPECT_FALSE(early->falls);
}

TEST(Crossings, AfterTiesTheyAreWhereTheLeadPassesTheTie) {
  // From 0.01 at 64 to -0.09 at 256, through -0.05 in size: half of the way.
  const auto apart = crossing_of(kLengths, {0.0, 0.01, -0.09, -0.5}, 0.05);
  ASSERT_TRUE(apart);
  EXPECT_NEAR(apart->length, std::sqrt(65.0 * 257.0) - 1, 1e-9);
  EXPECT_TRUE(apart->falls);
  EXPECT_TRUE(apart->from_tie);
  const auto back = crossing_of(kLengths, {0.0, 0.2, 0.2, -0.2}, 0.05);
  ASSERT_TRUE(back);
  EXPECT_FALSE(back->falls);
  EXPECT_EQ(back->changes, 2);
}

TEST(Crossings, TiesAreNoSignAndTheFirstOfSeveralCounts) {
  EXPECT_FALSE(crossing_of(kLengths, {0.5, 0.01, -0.02, 0.3}, 0.02));
  EXPECT_FALSE(crossing_of(kLengths, {0, 0, 0, 0}, 0));
  EXPECT_FALSE(crossing_of({}, {}, 0.02));
  // Over a tie the line goes from the last length with the old sign to the first with the new one.
  const auto over = crossing_of(kLengths, {0.1, 0.1, 0.0, -0.1}, 0.02);
  ASSERT_TRUE(over);
  EXPECT_NEAR(over->length, std::sqrt(65.0 * 1025.0) - 1, 1e-9);
  const auto several = crossing_of(kLengths, {0.1, -0.1, 0.1, -0.1}, 0.02);
  ASSERT_TRUE(several);
  EXPECT_EQ(several->changes, 3);
  EXPECT_NEAR(several->length, std::sqrt(65.0) - 1, 1e-9);
}

// A curve that is straight on ln(1 + L) is found exactly, wherever the lengths lie.
TEST(Crossings, FindTheZeroOfAStraightLine) {
  for (const double zero : {3.0, 100.0, 700.0}) {
    std::vector<double> differences;
    for (const int64_t length : kLengths)
      differences.push_back(0.1 * (std::log1p(static_cast<double>(length)) - std::log1p(zero)));
    const auto found = crossing_of(kLengths, differences, 0.0);
    ASSERT_TRUE(found);
    EXPECT_NEAR(found->length, zero, 1e-9 * zero);
    EXPECT_FALSE(found->falls);
  }
}

TEST(Crossings, SummaryHasTheCommonDirectionAndItsIntervalOnTheLogarithm) {
  const CrossingSummary summary = summarise({Crossing{9, true, 1},
                                             Crossing{99, true, 2},
                                             Crossing{999, true, 1, true},
                                             Crossing{50, false, 1},
                                             {}});
  EXPECT_EQ(summary.seeds, 5);
  EXPECT_EQ(summary.falling, 3);
  EXPECT_EQ(summary.rising, 1);
  EXPECT_EQ(summary.several, 1);
  EXPECT_EQ(summary.from_tie, 1);
  EXPECT_TRUE(summary.falls);
  EXPECT_NEAR(summary.length.mean, 99, 1e-9);  // ln 10, ln 100, ln 1000
  // t(0.975, 2) = 4.302653, standard error ln 10 / sqrt(3)
  const double reach = 4.302653 * std::log(10.0) / std::sqrt(3.0);
  EXPECT_NEAR(summary.length.ci95_high, 100 * std::exp(reach) - 1, 1e-3 * 100 * std::exp(reach));
  EXPECT_NEAR(summary.length.ci95_low, 100 * std::exp(-reach) - 1, 1e-4);
  const CrossingSummary none = summarise({{}, {}});
  EXPECT_EQ(none.falling + none.rising, 0);
  EXPECT_TRUE(std::isnan(none.length.mean));
}

}  // namespace
}  // namespace ropescope::miniature
