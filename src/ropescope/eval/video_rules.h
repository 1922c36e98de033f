// What benchmarks on clips share.
#pragma once

#include <string>
#include <vector>

#include "ropescope/core/json.h"
#include "ropescope/eval/python_text.h"

namespace ropescope::eval {

/// "(A) text" of each option.
std::vector<Text> bracketed(const std::vector<Text>& options);

/// What of a record names its clip: questions on one clip are no independent observations. `item` where nothing does.
std::string clip_name(const Json& doc, const std::string& item);

/// UnitRule::value of a clip: the mean over its questions.
double unit_mean(const std::vector<double>& scores);

}  // namespace ropescope::eval
