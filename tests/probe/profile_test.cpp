#include "ropescope/probe/profile.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/tensor_operators.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using testing::all_close;

/// The O(n^2) definition in float64.
at::Tensor direct_sums(const at::Tensor& q, const at::Tensor& k) {
  const int64_t n = q.size(1);
  const int64_t group = q.size(0) / k.size(0);
  const at::Tensor logits =
      q.to(at::kDouble).matmul(k.to(at::kDouble).repeat_interleave(group, 0).transpose(1, 2));  // [H, n, n]
  std::vector<at::Tensor> sums;
  for (int64_t m = 0; m < n; ++m) sums.push_back(logits.diagonal(-m, 1, 2).sum(-1));
  return at::stack(sums, 1);
}

/// Vectors with an outlier at the first token, as attention sinks have.
at::Tensor vectors(int64_t heads, int64_t tokens, int64_t head_dim) {
  at::Tensor x = at::randn({heads, tokens, head_dim}) * 3.0;
  x.select(1, 0).mul_(100.0);
  return x;
}

TEST(LaggedInnerProducts, EqualTheDirectSum) {
  at::manual_seed(1);
  for (const int64_t tokens : {1, 2, 31, 200}) {
    for (const auto& [heads, kv_heads, head_dim] :
         {std::tuple{4, 2, 8}, std::tuple{3, 3, 2}, std::tuple{9, 3, 64}}) {
      const at::Tensor q = vectors(heads, tokens, head_dim);
      const at::Tensor k = vectors(kv_heads, tokens, head_dim);
      // Sums reach 1e6 here (the outlier); 1e-8 is far below the 1e-4 that is asked of means.
      EXPECT_TRUE(all_close(lagged_inner_products(q, k), direct_sums(q, k), 1e-7, 1e-10)) << tokens;
    }
  }
}

TEST(LaggedInnerProducts, SameBitsAtAnyThreadCount) {
  at::manual_seed(2);
  const at::Tensor q = vectors(6, 333, 16);
  const at::Tensor k = vectors(2, 333, 16);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor alone = lagged_inner_products(q, k);
  at::set_num_threads(4);
  const at::Tensor shared = lagged_inner_products(q, k);
  at::set_num_threads(threads);
  EXPECT_TRUE(alone.equal(shared));
}

TEST(LaggedInnerProducts, LongSequencesAreCutIntoChannelBlocks) {
  // 2 x 40,000 tokens x 8 channels x 16 bytes exceeds the working memory of one block. Vectors that are zero
  // but at a few places have a sum that is known without n^2 products.
  const int64_t tokens = 40'000;
  at::Tensor q = at::zeros({2, tokens, 96});
  at::Tensor k = at::zeros({1, tokens, 96});
  q[0][30'000].fill_(1.0);
  q[1][39'999].fill_(2.0);
  k[0][10].fill_(3.0);
  k[0][30'000].fill_(1.0);
  at::Tensor expected = at::zeros({2, tokens}, at::kDouble);
  expected[0][29'990] = 288.0;
  expected[0][0] = 96.0;
  expected[1][39'989] = 576.0;
  expected[1][9'999] = 192.0;
  EXPECT_TRUE(all_close(lagged_inner_products(q, k), expected, 1e-9));
}

TEST(Profile, MeanAndClusterRobustErrorByHand) {
  // Two texts of 2 and 3 tokens, one head; sums per distance chosen freely.
  ProfileAccumulator accumulator(1, 2, 3);
  const at::Tensor of_two = pairs_at_distances(2), of_three = pairs_at_distances(3);
  accumulator.add_text(of_two);
  accumulator.add_text(of_three);
  accumulator.add_sums(0, {1}, at::tensor({2.0, 5.0}, at::kDouble).view({1, 2}), of_two);
  accumulator.add_sums(0, {1}, at::tensor({9.0, 1.0, 4.0}, at::kDouble).view({1, 3}), of_three);
  const ProfileSet profile = accumulator.result();
  EXPECT_TRUE(profile.count.equal(at::tensor({5, 3, 1}, at::kLong)));
  EXPECT_TRUE(all_close(profile.mean[0][1], at::tensor({11.0 / 5, 6.0 / 3, 4.0}, at::kDouble), 1e-12));
  // m = 0: residuals 2 - 2.2*2 = -2.4 and 9 - 2.2*3 = 2.4; sqrt(2 * (5.76 + 5.76)) / 5.
  EXPECT_NEAR(profile.standard_error[0][1][0].item<double>(), std::sqrt(2 * 2 * 5.76) / 5, 1e-12);
  // m = 1: residuals 5 - 2 = 3 and 1 - 4 = -3.
  EXPECT_NEAR(profile.standard_error[0][1][1].item<double>(), std::sqrt(2 * 18.0) / 3, 1e-12);
  // One text reaches distance 2, and head 0 was not measured.
  EXPECT_TRUE(std::isnan(profile.standard_error[0][1][2].item<double>()));
  EXPECT_TRUE(profile.mean[0][0].isnan().all().item<bool>());
}

}  // namespace
}  // namespace ropescope
