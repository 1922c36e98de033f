// Golden files and comparisons that explain themselves.
#pragma once

#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <ATen/core/Tensor.h>

#include "ropescope/core/json.h"

#include "tests/support/paths.h"

namespace ropescope::testing {

Json golden_json(const std::string& relative);
/// One value a line.
std::vector<Json> json_lines(const std::string& text);
/// All tensors of a safetensors file, in float32 (integers and bools in int64).
std::map<std::string, at::Tensor> golden_tensors(const std::string& relative);

/// Writes float32 and int64 tensors as a safetensors file.
void write_safetensors(const std::string& path, const std::map<std::string, at::Tensor>& tensors);

/// Passes when |actual - expected| <= atol + rtol * |expected| everywhere and shapes agree; otherwise tells
/// the worst place, both values and the share of the tolerance that was used. NaN equals nothing.
::testing::AssertionResult all_close(const at::Tensor& actual, const at::Tensor& expected, double atol,
                                     double rtol = 0.0);

/// A folder of its own for a test's files, removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  std::string path(const std::string& name) const;
  /// Writes the file `name`, in new folders where it names them, and gives its path.
  std::string write(const std::string& name, const std::string& content) const;

 private:
  std::string folder_;
};

/// Runs the ropescope executable with `arguments` (a shell line) and collects what it says.
struct CommandResult {
  int exit_code = -1;
  std::string out;
  std::string err;
};
CommandResult run_ropescope(const std::string& arguments);

}  // namespace ropescope::testing
