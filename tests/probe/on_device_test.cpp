// The pair profile away from the CPU's own loops.
#include <optional>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/randn.h>

#include "ropescope/core/device_branch.h"
#include "ropescope/probe/profile.h"

#include "tests/support/golden.h"
#include "tests/support/places.h"
#include "tests/support/pretend_device.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

class OnDevice : public ::testing::TestWithParam<Place> {};
INSTANTIATE_TEST_SUITE_P(Place, OnDevice, ::testing::ValuesIn(places()),
                         [](const auto& instance) { return instance.param.name; });

TEST_P(OnDevice, LaggedInnerProductsEqualTheCpus) {
  const Place& place = GetParam();
  at::Generator random = at::detail::createCPUGenerator(1);
  const at::Tensor q = at::randn({6, 130, 32}, random, at::kFloat).to(place.dtype);
  const at::Tensor k = at::randn({2, 130, 32}, random, at::kFloat).to(place.dtype);
  const at::Tensor expected = lagged_inner_products(q, k);
  std::optional<GenericKernels> generic;
  if (place.generic) generic.emplace();
  const HostReads reads;
  const at::Tensor found = lagged_inner_products(q.to(place.device), k.to(place.device));
  // Sums of float64 over the same numbers.
  EXPECT_TRUE(all_close(found, expected, 1e-9, 1e-9));
  if (is_pretend(place.device)) {
    EXPECT_EQ(reads.total(), 1);
  }
  if (place_is_chosen()) {
    fmt::print("on-device | pair profile | {:.2e} | 1e-09\n", found.sub(expected).abs().max().item<double>());
  }
}

}  // namespace
}  // namespace ropescope
