#include "ropescope/analysis/statistics.h"

#include <cmath>

#include <gtest/gtest.h>

#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/tensor_operators.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using testing::all_close;

TEST(Statistics, StudentQuantiles) {
  EXPECT_NEAR(student_quantile(0.95, 1), 12.7062, 1e-4);
  EXPECT_NEAR(student_quantile(0.95, 9), 2.26216, 1e-5);
  EXPECT_NEAR(student_quantile(0.95, 1'000'000), 1.95997, 1e-5);
  EXPECT_TRUE(std::isnan(student_quantile(0.95, 0)));
}

TEST(Statistics, EqualClustersGiveTheTextbookStandardError) {
  // Clusters of one size: the ratio estimator is the mean of cluster means, its variance s^2 / G.
  const at::Tensor means = at::tensor({1.0, 4.0, 2.5, 7.0}, at::kDouble);
  const at::Tensor deviations =
      ratio_deviations((means * 3.0).unsqueeze(1), at::tensor({3.0, 3.0, 3.0, 3.0}, at::kDouble));
  const double variance = (deviations * deviations).sum().item<double>();
  EXPECT_NEAR(variance, means.var().item<double>() / 4, 1e-12);
}

TEST(Statistics, EmptyClustersDoNotCount) {
  const at::Tensor with = ratio_deviations(at::tensor({2.0, 0.0, 9.0}, at::kDouble).unsqueeze(1),
                                           at::tensor({1.0, 0.0, 2.0}, at::kDouble));
  const at::Tensor without =
      ratio_deviations(at::tensor({2.0, 9.0}, at::kDouble).unsqueeze(1), at::tensor({1.0, 2.0}, at::kDouble));
  EXPECT_NEAR((with * with).sum().item<double>(), (without * without).sum().item<double>(), 1e-12);
  const at::Tensor one =
      ratio_deviations(at::tensor({2.0, 0.0}, at::kDouble).unsqueeze(1), at::tensor({1.0, 0.0}, at::kDouble));
  EXPECT_TRUE(one.isnan().all().item<bool>());
}

TEST(Statistics, JackknifeOfAMeanIsItsStandardError) {
  at::manual_seed(4);
  const at::Tensor x = at::randn({12, 2}, at::kDouble);
  const at::Tensor without = (x.sum(0) - x) / 11.0;
  const at::Tensor deviations = jackknife_deviations(without);
  EXPECT_TRUE(all_close((deviations * deviations).sum(0), x.var(0, true) / 12.0, 1e-12));
}

TEST(Statistics, CompressedRowsKeepEveryVariance) {
  at::manual_seed(5);
  const at::Tensor rows = at::randn({50, 6}, at::kDouble);
  const at::Tensor compressed = compress_deviations(rows);
  EXPECT_EQ(compressed.size(0), 6);
  EXPECT_TRUE(all_close(at::mm(compressed.t(), compressed), at::mm(rows.t(), rows), 1e-10));
  const at::Tensor covariance = at::mm(rows.t(), rows);
  const at::Tensor root = deviations_of_covariance(covariance);
  EXPECT_TRUE(all_close(at::mm(root.t(), root), covariance, 1e-10));
}

}  // namespace
}  // namespace ropescope
