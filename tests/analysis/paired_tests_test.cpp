// Exact tests of paired differences against counts by hand and simulation.
#include "ropescope/analysis/paired_tests.h"

#include <cmath>
#include <limits>

#include <boost/random/normal_distribution.hpp>
#include <gtest/gtest.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/random.h"

namespace ropescope {
namespace {

TEST(SignFlip, CountsTheChoicesThatAreAsFar) {
  EXPECT_EQ(sign_flip_p({}), 1.0);
  EXPECT_EQ(sign_flip_p({0.3}), 1.0);
  EXPECT_EQ(sign_flip_p({1, 2, 3}), 2.0 / 8);           // 6 and -6 only
  EXPECT_EQ(sign_flip_p({1, 2, -3}), 1.0);              // 0: all are as far
  EXPECT_EQ(sign_flip_p({1, 1, 1, -1}), 2.0 * 5 / 16);  // |sum| >= 2: four or three of one sign
  EXPECT_EQ(sign_flip_p({0.1, 0.2, 0.3}), 2.0 / 8);     // (0.1 + 0.2 is not 0.3)
  EXPECT_EQ(sign_flip_p({0, 0, 0}), 1.0);
  for (int64_t n = 1; n <= 12; ++n) {
    EXPECT_EQ(sign_flip_p(std::vector<double>(static_cast<size_t>(n), 0.7)), smallest_sign_flip_p(n)) << n;
  }
  EXPECT_THROW(sign_flip_p(std::vector<double>(21, 1.0)), InternalError);
  EXPECT_THROW(sign_flip_p({1.0, std::numeric_limits<double>::quiet_NaN()}), InternalError);
}

TEST(SignFlip, IsBelowATenthInATenthOfTheCasesWithoutADifference) {
  Rng rng = make_rng(5, {1});
  boost::random::normal_distribution<double> normal(0, 1);
  constexpr int kCases = 4000;
  int below = 0;
  for (int i = 0; i < kCases; ++i) {
    std::vector<double> values(8);
    for (double& value : values) value = normal(rng);
    below += sign_flip_p(values) <= 0.1 ? 1 : 0;
  }
  // 0.1 is not a multiple of 2/256: 12/128 of the cases. Four standard deviations of a share of 4000.
  const double share = 12.0 / 128;
  EXPECT_NEAR(static_cast<double>(below) / kCases, share, 4 * std::sqrt(share * (1 - share) / kCases));
}

TEST(Holm, MultipliesByTheTestsThatAreLeftAndNeverGoesDown) {
  EXPECT_TRUE(holm_adjusted({}).empty());
  EXPECT_EQ(holm_adjusted({0.04}), std::vector<double>{0.04});
  const std::vector<double> adjusted = holm_adjusted({0.03, 0.01, 0.02, 0.5});
  EXPECT_DOUBLE_EQ(adjusted[1], 0.04);  // 4 * 0.01
  EXPECT_DOUBLE_EQ(adjusted[2], 0.06);  // 3 * 0.02
  EXPECT_DOUBLE_EQ(adjusted[0], 0.06);  // 2 * 0.03
  EXPECT_DOUBLE_EQ(adjusted[3], 0.5);
  EXPECT_EQ(holm_adjusted({0.4, 0.5}), (std::vector<double>{0.8, 0.8}));
  EXPECT_EQ(holm_adjusted({0.9, 0.8}), (std::vector<double>{1.0, 1.0}));
}

}  // namespace
}  // namespace ropescope
