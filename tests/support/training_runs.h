// What the tests of `ropescope train` share: runs in a folder, and whether two of them ended the same.
#pragma once

#include <fstream>
#include <iterator>
#include <string>

#include <gtest/gtest.h>

#include "tests/support/golden.h"

namespace ropescope::testing {

class TrainingRuns : public ::testing::Test {
 protected:
  /// The command line of a run into `output` below the test's folder.
  virtual std::string flags(const std::string& output, const std::string& more) const = 0;

  CommandResult run(const std::string& output, const std::string& more) const {
    return run_ropescope(flags(output, more));
  }
  std::string bytes(const std::string& file) const {
    std::ifstream stream(folder_.path(file), std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }
  /// Weights and optimizer of a step, bit for bit.
  void expect_same_end(const std::string& one, const std::string& other, int step) const {
    for (const char* name : {"model.safetensors", "optimizer.safetensors"}) {
      const std::string place = "/checkpoints/step-" + std::to_string(step) + "/" + name;
      ASSERT_FALSE(bytes(one + place).empty());
      EXPECT_EQ(bytes(one + place), bytes(other + place)) << name;
    }
  }

  TemporaryFolder folder_;
};

}  // namespace ropescope::testing
