#include "tests/support/finite_differences.h"

#include <gtest/gtest.h>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/randn.h>

#include "ropescope/core/autograd.h"

namespace ropescope::testing {

void expect_finite_differences(const std::function<at::Tensor()>& loss, std::vector<at::Tensor> leaves,
                               double tolerance) {
  constexpr double kStep = 1e-5;
  constexpr uint64_t kDirections = 3;
  const auto gradient = torch::autograd::grad({loss()}, leaves);
  for (size_t i = 0; i < leaves.size(); ++i) {
    for (uint64_t seed = 0; seed < kDirections; ++seed) {
      const at::Tensor direction =
          at::randn(leaves[i].sizes(), at::detail::createCPUGenerator(17 * i + seed), at::kDouble);
      const auto moved = [&](double by) {
        leaves[i].detach().add_(direction, by);
        const double value = loss().item<double>();
        leaves[i].detach().sub_(direction, by);
        return value;
      };
      EXPECT_NEAR((moved(kStep) - moved(-kStep)) / (2 * kStep),
                  gradient[i].mul(direction).sum().item<double>(), tolerance)
          << "leaf " << i << ", direction " << seed;
    }
  }
}

}  // namespace ropescope::testing
