// Layers that are computed twice.
#include "ropescope/models/recompute.h"

#include <gtest/gtest.h>

#include <ATen/Context.h>
#include <ATen/ops/randn.h>

#include "tests/support/finite_differences.h"

namespace ropescope {
namespace {

TEST(Recompute, GradientsEqualFiniteDifferences) {
  at::manual_seed(1);
  const auto leaf = [](at::IntArrayRef sizes) { return at::randn(sizes, at::kDouble).requires_grad_(true); };
  const at::Tensor x = leaf({4, 6}), w = leaf({6, 6}), v = leaf({6});
  const auto body = [w, v](const at::Tensor& input) { return input.matmul(w).tanh().mul(v).add(input); };
  const auto loss = [&] {
    const at::Tensor once = recomputed(body, x, {w, v});
    return recomputed(body, once, {w, v}).sin().sum();
  };
  testing::expect_finite_differences(loss, {x, w, v}, 1e-7);
}

TEST(Recompute, KeepsNoGraphWhereNothingLearns) {
  const at::Tensor x = at::randn({2, 2});
  int calls = 0;
  const at::Tensor y = recomputed(
      [&calls](const at::Tensor& input) {
        ++calls;
        return input.mul(2);
      },
      x, {});
  EXPECT_FALSE(y.requires_grad());
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace ropescope
