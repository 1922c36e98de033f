// What the tests of `ropescope train` share: runs in a folder, and whether two of them ended the same.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ropescope/core/file.h"
#include "ropescope/core/json.h"

#include "tests/support/golden.h"

namespace ropescope::testing {

/// The same bytes in the files `names` of both folders.
inline void expect_same_files(const std::filesystem::path& one, const std::filesystem::path& other,
                              const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    const std::string expected = read_file(one / name);
    ASSERT_FALSE(expected.empty());
    EXPECT_EQ(read_file(other / name), expected) << name;
  }
}

class TrainingRuns : public ::testing::Test {
 protected:
  /// The command line of a run into `output` below the test's folder.
  virtual std::string flags(const std::string& output, const std::string& more) const = 0;

  /// texts.jsonl in the test's folder: twelve short ones.
  void write_texts() const {
    std::ofstream texts(folder_.path("texts.jsonl"));
    for (int i = 0; i < 12; ++i) {
      texts
          << Json{{"id", i}, {"text", "Text number " + std::to_string(i * 37) + " of a small corpus."}}.dump()
          << "\n";
    }
  }
  CommandResult run(const std::string& output, const std::string& more) const {
    return run_ropescope(flags(output, more));
  }
  std::string bytes(const std::string& file) const { return read_file(folder_.path(file)); }
  /// Weights and optimizer of a step, bit for bit.
  void expect_same_end(const std::string& one, const std::string& other, int step) const {
    const std::string place = "/checkpoints/step-" + std::to_string(step);
    expect_same_files(folder_.path(one + place), folder_.path(other + place),
                      {"model.safetensors", "optimizer.safetensors"});
  }

  TemporaryFolder folder_;
};

}  // namespace ropescope::testing
