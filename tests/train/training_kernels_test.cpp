// Forward and backward passes of the kernels that training uses: against the formulas differentiated in
// float64, against finite differences, and gradients that are added in place against those that autograd
// adds.
#include <cmath>
#include <functional>
#include <limits>

#include <gtest/gtest.h>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/autograd.h"
#include "ropescope/core/device.h"
#include "ropescope/models/kernels/in_place_gradients.h"
#include "ropescope/models/kernels/linear.h"
#include "ropescope/models/kernels/rms_norm.h"
#include "ropescope/models/kernels/row_loops.h"
#include "ropescope/train/vocabulary_loss.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using testing::all_close;
using torch::autograd::variable_list;

at::Tensor leaf(at::IntArrayRef sizes, uint64_t seed, double size = 1.0) {
  return at::randn(sizes, at::detail::createCPUGenerator(seed), at::kFloat).mul(size).requires_grad_(true);
}

/// A function of leaves; given float64 leaves it is the plain formula.
struct KernelCase {
  std::string name;
  variable_list leaves;
  std::function<at::Tensor(const variable_list&)> kernel, formula;
};

at::Tensor swish(const at::Tensor& x) { return x.mul(at::sigmoid(x)); }

at::Tensor root_mean_square(const at::Tensor& x, const at::Tensor& weight) {
  return x.mul(at::rsqrt(x.square().mean(-1, true).add(1e-5))).mul(weight);
}

std::vector<KernelCase> kernel_cases() {
  std::vector<KernelCase> all;
  all.push_back({"norm",
                 {leaf({3, 7, 37}, 1, 3.0), leaf({37}, 2)},
                 [](const variable_list& x) { return kernels::rms_norm(x[0], x[1], 1e-5); },
                 [](const variable_list& x) { return root_mean_square(x[0], x[1]); }});
  all.push_back({"linear",
                 {leaf({2, 5, 13}, 3), leaf({9, 13}, 4), leaf({9}, 5)},
                 [](const variable_list& x) { return kernels::linear(x[0], x[1], x[2]); },
                 [](const variable_list& x) { return at::linear(x[0], x[1], x[2]); }});
  all.push_back({"strided",
                 {leaf({2, 13, 5}, 6), leaf({9, 13}, 7)},
                 [](const variable_list& x) { return kernels::linear(x[0].transpose(1, 2), x[1], {}); },
                 [](const variable_list& x) { return at::linear(x[0].transpose(1, 2), x[1]); }});
  all.push_back({"residual",
                 {leaf({2, 5, 9}, 8), leaf({2, 5, 13}, 9), leaf({9, 13}, 10)},
                 [](const variable_list& x) { return kernels::linear_plus(x[0], x[1], x[2], {}); },
                 [](const variable_list& x) { return at::linear(x[1], x[2]).add(x[0]); }});
  all.push_back(
      {"linears",
       {leaf({2, 5, 13}, 11), leaf({9, 13}, 12, 0.3), leaf({4, 13}, 13, 0.3), leaf({4, 13}, 14, 0.3),
        leaf({4}, 15)},
       [](const variable_list& x) {
         const auto y = kernels::linears(x[0], {x[1], x[2], x[3]}, {at::Tensor(), x[4], at::Tensor()});
         return y[0].sum(-1).mul(y[1].sum(-1)).add(y[2].select(-1, 1));
       },
       [](const variable_list& x) {
         return at::linear(x[0], x[1])
             .sum(-1)
             .mul(at::linear(x[0], x[2], x[4]).sum(-1))
             .add(at::linear(x[0], x[3]).select(-1, 1));
       }});
  all.push_back(
      {"gated",
       {leaf({2, 5, 13}, 16), leaf({21, 13}, 17), leaf({21}, 18), leaf({21, 13}, 19), leaf({21}, 20)},
       [](const variable_list& x) { return kernels::gated_linear(x[0], x[1], x[2], x[3], x[4]); },
       [](const variable_list& x) {
         return swish(at::linear(x[0], x[1], x[2])).mul(at::linear(x[0], x[3], x[4]));
       }});
  return all;
}

// A scalar in which every output counts differently, gently curved.
at::Tensor scalar(const at::Tensor& y) { return y.to(at::kDouble).mul(0.1).add(0.5).sin().mul(10).sum(); }

class TrainingKernels : public ::testing::TestWithParam<KernelCase> {};
INSTANTIATE_TEST_SUITE_P(Each, TrainingKernels, ::testing::ValuesIn(kernel_cases()),
                         [](const auto& instance) { return instance.param.name; });

TEST_P(TrainingKernels, ValuesAndGradientsEqualFloat64) {
  const KernelCase& subject = GetParam();
  variable_list wide;
  for (const at::Tensor& one : subject.leaves) {
    wide.push_back(one.detach().to(at::kDouble).requires_grad_(true));
  }
  const at::Tensor expected = subject.formula(wide), found = subject.kernel(subject.leaves);
  EXPECT_TRUE(all_close(found, expected, 2e-5, 1e-5));
  const auto slopes = torch::autograd::grad({scalar(expected)}, wide);
  const auto own = torch::autograd::grad({scalar(found)}, subject.leaves);
  for (size_t i = 0; i < wide.size(); ++i) {
    EXPECT_TRUE(all_close(own[i], slopes[i], 5e-5 * slopes[i].abs().max().item<double>())) << i;
  }
}

// In float32: a large step, and the tolerance that its third derivative and rounding ask for.
TEST_P(TrainingKernels, GradientsEqualFiniteDifferences) {
  const KernelCase& subject = GetParam();
  constexpr double kStep = 2e-3;
  const auto own = torch::autograd::grad({scalar(subject.kernel(subject.leaves))}, subject.leaves);
  for (size_t i = 0; i < subject.leaves.size(); ++i) {
    const at::Tensor direction =
        at::randn(subject.leaves[i].sizes(), at::detail::createCPUGenerator(100 + i), at::kFloat);
    const at::Tensor unit = direction.div(direction.norm());
    const auto moved = [&](double by) {
      variable_list leaves = subject.leaves;
      leaves[i] = leaves[i].detach().add(unit, by).requires_grad_(true);
      return scalar(subject.kernel(leaves)).item<double>();
    };
    const double expected = own[i].mul(unit).sum().item<double>();
    EXPECT_NEAR((moved(kStep) - moved(-kStep)) / (2 * kStep), expected,
                5e-3 * std::max(1.0, std::abs(expected)))
        << i;
  }
}

TEST_P(TrainingKernels, OnlyWhatWantsAGradientGetsOne) {
  const KernelCase& subject = GetParam();
  const auto all = torch::autograd::grad({scalar(subject.kernel(subject.leaves))}, subject.leaves);
  for (size_t i = 0; i < subject.leaves.size(); ++i) {
    variable_list leaves;
    for (const at::Tensor& one : subject.leaves) leaves.push_back(one.detach());
    leaves[i] = leaves[i].clone().requires_grad_(true);
    const auto one = torch::autograd::grad({scalar(subject.kernel(leaves))}, {leaves[i]});
    EXPECT_TRUE(one[0].equal(all[i])) << i;
  }
}

// Three losses one after the other, as micro-batches come.
TEST_P(TrainingKernels, GradientsAddedInPlaceAreThoseThatAutogradAdds) {
  const KernelCase& subject = GetParam();
  const auto accumulate = [&](bool in_place) {
    variable_list leaves;
    for (const at::Tensor& one : subject.leaves) leaves.push_back(one.detach().clone().requires_grad_(true));
    for (int i = 0; i < 3; ++i) {
      const at::Tensor loss = scalar(subject.kernel(leaves).mul(1.0 + i));
      if (in_place) {
        const kernels::InPlaceGradients guard;
        torch::autograd::backward({loss}, {});
      } else {
        torch::autograd::backward({loss}, {});
      }
    }
    variable_list gradients;
    for (const at::Tensor& one : leaves) gradients.push_back(one.grad());
    return gradients;
  };
  const auto expected = accumulate(false), found = accumulate(true);
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_TRUE(all_close(found[i], expected[i], 1e-5 * expected[i].abs().max().item<double>())) << i;
  }
}

TEST(RmsNorm, GradientsAreTheSameOnAnyNumberOfThreads) {
  const at::Tensor x = leaf({129, 640}, 1), weight = leaf({640}, 2);
  std::vector<variable_list> found;
  for (const int threads : {1, 2, 5}) {
    set_threads(threads);
    found.push_back(torch::autograd::grad({scalar(kernels::rms_norm(x, weight, 1e-6))}, {x, weight}));
    EXPECT_TRUE(found.back()[0].equal(found.front()[0]));
    EXPECT_TRUE(found.back()[1].equal(found.front()[1]));
  }
  set_threads(1);
}

class Counter : public torch::autograd::PostAccumulateGradHook {
 public:
  explicit Counter(int& calls) : calls_(calls) {}
  void operator()(const at::Tensor&) override { ++calls_; }

 private:
  int& calls_;
};

// A tied table is read at one end of a model and multiplied with at the other; both gradients go to one
// place.
TEST(InPlaceGradients, OfATiedTableAreThoseOfAutograd) {
  const at::Tensor ids = at::tensor({3, 1, 3, 3, 0, 6}, at::kLong),
                   targets = at::tensor({1, 3, 3, 0, 6, 2}, at::kLong);
  const auto accumulate = [&](const at::Tensor& table, bool in_place) {
    for (const double scale : {0.5, 0.25}) {
      std::optional<kernels::InPlaceGradients> guard;
      if (in_place) guard.emplace();
      const at::Tensor hidden = kernels::embedding(table, ids).tanh();
      torch::autograd::backward({vocabulary_loss(hidden, table, targets, scale, 4)}, {});
    }
    return table.grad();
  };
  const at::Tensor expected = accumulate(leaf({7, 5}, 1), false);
  EXPECT_TRUE(all_close(accumulate(leaf({7, 5}, 1), true), expected, 1e-6));
  // Somebody who waits for the gradient is told of it.
  int calls = 0;
  const at::Tensor watched = leaf({7, 5}, 1);
  torch::autograd::impl::set_post_acc_grad_hooks(watched, std::make_unique<Counter>(calls));
  EXPECT_TRUE(all_close(accumulate(watched, true), expected, 1e-6));
  EXPECT_EQ(calls, 2);
}

TEST(InPlaceGradients, StayWhereTheyAreAndEndWithTheGuard) {
  const at::Tensor x = leaf({4, 8}, 1).detach(), weight = leaf({6, 8}, 2);
  {
    const kernels::InPlaceGradients guard;
    torch::autograd::backward({kernels::linear(x, weight, {}).sum()}, {});
    const void* first = weight.grad().const_data_ptr();
    torch::autograd::backward({kernels::linear(x, weight, {}).sum()}, {});
    EXPECT_EQ(weight.grad().const_data_ptr(), first);
    // A loss whose gradient lies in place already cannot be scaled afterwards.
    const at::Tensor targets = at::tensor({0, 1, 2, 3}, at::kLong);
    const at::Tensor loss = vocabulary_loss(x, weight, targets, 1.0).mul(2.0);
    EXPECT_THROW(torch::autograd::backward({loss}, {}), std::exception);
  }
  EXPECT_FALSE(kernels::InPlaceGradients::active());
  const at::Tensor before = weight.grad().clone();
  torch::autograd::grad({kernels::linear(x, weight, {}).sum()}, {weight});
  EXPECT_TRUE(weight.grad().equal(before));
}

TEST(SoftmaxSlope, EqualsFloat64) {
  for (const int64_t width : {1, 5, 31, 32, 1000, 4099}) {
    const at::Tensor logits = at::randn({width}, at::detail::createCPUGenerator(5), at::kFloat).mul(20);
    const int64_t target = width / 2;
    const at::Tensor wide = logits.to(at::kDouble), logs = wide.sub(wide.logsumexp(0));
    at::Tensor expected = logs.exp();
    expected[target] -= 1.0;
    const at::Tensor slope = logits.clone();
    const double loss = kernels::softmax_slope(slope.mutable_data_ptr<float>(), width, target, 0.25f);
    EXPECT_NEAR(loss, -logs[target].item<double>(), 1e-6 * std::max(1.0, loss)) << width;
    EXPECT_TRUE(all_close(slope, expected.mul(0.25), 1e-7, 1e-5)) << width;
  }
}

TEST(SoftmaxSlope, TellsOfNumbersThatAreNotFinite) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const int64_t at : {0, 3, 40}) {
      std::vector<float> logits(41, 0.5f);
      logits[static_cast<size_t>(at)] = bad;
      EXPECT_FALSE(std::isfinite(kernels::softmax_slope(logits.data(), 41, 7, 1.0f))) << at;
    }
  }
}

}  // namespace
}  // namespace ropescope
