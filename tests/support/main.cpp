// The main of every test executable: each test draws the same random numbers in every run, alone or among others.
#include <gtest/gtest.h>

#include <ATen/Context.h>

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
  return RUN_ALL_TESTS();
}
