// The folders of tests/golden/vlm: tiny models of vision-language families.
#pragma once

#include <string>
#include <vector>

#include "ropescope/core/file.h"

#include "tests/support/golden.h"

namespace ropescope::testing {

inline const std::vector<std::string>& golden_vlm_families() {
  static const std::vector<std::string> all = {"qwen2_5_vl", "qwen2_vl", "qwen3_vl",       "qwen3_5",
                                               "glm4v",      "gemma3",   "idefics3",       "internvl",
                                               "llava",      "smolvlm",  "llava_onevision"};
  return all;
}

/// A file of a family, below tests/golden/.
inline std::string vlm_file(const std::string& family, const std::string& name) {
  return "vlm/" + family + "/" + name;
}

/// What the family's implementation gave, case by case.
inline std::vector<Json> vlm_cases(const std::string& family) {
  return golden_json(vlm_file(family, "expected.json")).at("cases").get<std::vector<Json>>();
}

}  // namespace ropescope::testing
