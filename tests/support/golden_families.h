// The folders of tests/golden/architectures: tiny models of every decoder family.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace ropescope::testing {

inline const std::vector<std::string>& golden_families() {
  static const std::vector<std::string> all = {
      "qwen3",       "gemma2",      "gemma3_text",  "smollm3",       "mistral-window",
      "ministral3",  "phi3-long",   "phi3-short",   "glm4",          "olmo2",
      "olmo3",       "cohere2",     "granite",      "qwen3_moe",     "gpt_oss",
      "deepseek_v3", "llama4_text", "qwen3_5_text", "gemma4_text-e", "gemma4_text-moe"};
  return all;
}

/// A folder's name as GoogleTest wants it.
inline std::string family_test_name(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

}  // namespace ropescope::testing
