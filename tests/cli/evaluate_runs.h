// What the tests of `ropescope evaluate` share.
#pragma once

#include <string>
#include <vector>

#include "ropescope/core/file.h"
#include "ropescope/core/json.h"

#include "tests/support/golden.h"

namespace ropescope::testing {

/// Asked about each picture.
inline const std::vector<std::string> kQuestions = {"Is it red?", "Is it blue?",
                                                    "Is there a dog, or a cat, in the picture?"};

/// What a run wrote into `folder`.
inline std::vector<Json> samples_in(const std::string& folder) {
  return json_lines(read_file(folder + "/samples.jsonl"));
}
inline Json summary_in(const std::string& folder) { return read_json_file(folder + "/summary.json"); }

}  // namespace ropescope::testing
