// `ropescope audit` in tests: a golden case's prompt, and ids that another implementation made or that were made wrong of
// them on purpose.
#pragma once

#include <initializer_list>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>

#include "tests/support/golden.h"
#include "tests/support/golden_vlm.h"

namespace ropescope::testing {

/// A golden case: its tensors without the case's name.
struct AuditedCase {
  std::string model;
  at::Tensor ids;  ///< right ones, [3, T] float32
  std::map<std::string, at::Tensor> inputs;

  AuditedCase(const std::string& family, const std::string& name) : model(golden_path("vlm/" + family)) {
    const auto golden = golden_tensors(vlm_file(family, "expected.safetensors"));
    for (const char* key : {"input_ids", "image_grid_thw", "video_grid_thw", "second_per_grid_ts"}) {
      const auto found = golden.find(name + "." + key);
      if (found != golden.end()) inputs[key] = found->second;
    }
    const auto older = golden.find(name + ".position_ids_transformers4");
    ids = (older != golden.end() ? older->second : golden.at(name + ".position_ids")).to(at::kFloat);
  }
  int64_t tokens() const { return ids.size(1); }
};

class AuditRuns : public ::testing::Test {
 protected:
  TemporaryFolder folder_;

  std::string files(const AuditedCase& of, const at::Tensor& ids) const {
    write_safetensors(folder_.path("ids.safetensors"), {{"position_ids", ids.to(at::kFloat).contiguous()}});
    write_safetensors(folder_.path("prompt.safetensors"), of.inputs);
    return " --model '" + of.model + "' --ids '" + folder_.path("ids.safetensors") + "' --input-ids '" +
           folder_.path("prompt.safetensors") + "' ";
  }

  /// The report of a run that has to end with `exit_code`.
  Json audit(const AuditedCase& of, const at::Tensor& ids, int exit_code,
             const std::string& flags = {}) const {
    const CommandResult run = run_ropescope("audit --quiet --json" + files(of, ids) + flags);
    EXPECT_EQ(run.exit_code, exit_code) << run.err << run.out;
    if (run.exit_code != exit_code || run.out.empty()) return Json::object();
    Json report = parse_json(run.out, "stdout");
    EXPECT_EQ(report.at("verdict"), exit_code == 0 ? "equal" : "different");
    EXPECT_EQ(report.at("first_difference").is_null(), exit_code == 0);
    return report;
  }

  /// Right ids pass, wrong ones are found to be made by `mistake`, alone or among others; gives the report.
  Json expect_mistake(const AuditedCase& of, const at::Tensor& wrong, const std::string& mistake,
                      const std::string& flags = {}) const {
    Json report = audit(of, wrong, 1, flags);
    bool found = false;
    for (const Json& look : report.value("looks_like", Json::array())) {
      if (look.at("mistake") != mistake) continue;
      found = true;
      EXPECT_EQ(look.at("explains"), 1.0) << look;
      EXPECT_FALSE(look.at("sentence").get<std::string>().empty());
    }
    EXPECT_TRUE(found) << mistake << " is not in " << report.dump();
    return report;
  }

  static at::Tensor counted(int64_t first, int64_t count) {
    return at::arange(first, first + count, at::kFloat).expand({3, count});
  }
  /// With `count` generated tokens from `first` on.
  static at::Tensor continued(const at::Tensor& ids, int64_t first, int64_t count) {
    return at::cat({ids, counted(first, count)}, 1);
  }
};

}  // namespace ropescope::testing
