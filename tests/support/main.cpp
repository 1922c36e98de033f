// The main of every test executable: each test draws the same random numbers in every run, alone or among others.
// With ROPESCOPE_TEST_KERNELS=generic tensors on the CPU take the way of other devices in all tests of the run.
#include <optional>

#include <gtest/gtest.h>

#include <ATen/Context.h>

#include "ropescope/core/device_branch.h"

#include "tests/support/paths.h"

namespace ropescope::testing {
namespace {

class FixedSeed : public ::testing::EmptyTestEventListener {
  void OnTestSuiteStart(const ::testing::TestSuite& /*suite*/) override { at::manual_seed(0); }
  void OnTestStart(const ::testing::TestInfo& /*test*/) override { at::manual_seed(0); }
};

}  // namespace
}  // namespace ropescope::testing

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  ::testing::UnitTest::GetInstance()->listeners().Append(new ropescope::testing::FixedSeed);
  std::optional<ropescope::GenericKernels> generic;
  if (ropescope::testing::wants_generic_kernels()) generic.emplace();
  return RUN_ALL_TESTS();
}
