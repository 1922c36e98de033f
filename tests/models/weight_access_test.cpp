// Parts of a model that are brought when they are used.
#include "ropescope/models/weight_access.h"

#include <gtest/gtest.h>

#include <ATen/Context.h>
#include <ATen/ops/randn.h>

#include "ropescope/core/autograd.h"

#include "tests/support/finite_differences.h"

namespace ropescope {
namespace {

class Recorder : public WeightAccess {
 public:
  void acquire(const at::Tensor&) override { calls += "+"; }
  void release(const at::Tensor&) override { calls += "-"; }
  std::string calls;
};

TEST(WeightBoundaries, ChangeNoGradientAndBringWeightsForBothPasses) {
  at::manual_seed(1);
  const auto recorder = std::make_shared<Recorder>();
  const auto leaf = [](at::IntArrayRef sizes) { return at::randn(sizes, at::kDouble).requires_grad_(true); };
  const at::Tensor x = leaf({3, 4}), w = leaf({4, 4});
  const auto loss = [&] {
    const auto body = [&](const at::Tensor& input) {
      recorder->calls += "f";
      return input.matmul(w).tanh();
    };
    return with_weights(recorder, w, x, body).square().sum();
  };
  testing::expect_finite_differences(loss, {x, w}, 1e-7);
  recorder->calls.clear();
  torch::autograd::grad({loss()}, {x, w});
  EXPECT_EQ(recorder->calls, "+f-+-");
}

TEST(WeightBoundaries, GiveWeightsBackWhenABodyFails) {
  const auto recorder = std::make_shared<Recorder>();
  const auto body = [](const at::Tensor&) -> at::Tensor { throw std::runtime_error("no"); };
  EXPECT_THROW(with_weights(recorder, at::randn({1}), at::randn({1}), body), std::runtime_error);
  EXPECT_EQ(recorder->calls, "+-");
}

}  // namespace
}  // namespace ropescope
