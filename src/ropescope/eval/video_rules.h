// What benchmarks on clips share.
#pragma once

#include <string>
#include <vector>

#include "ropescope/core/json.h"

namespace ropescope::eval {

/// What of a record names its clip: questions on one clip are no independent observations. `item` where nothing does.
std::string clip_name(const Json& doc, const std::string& item);

/// UnitRule::value of a clip: the mean over its questions.
double unit_mean(const std::vector<double>& scores);

}  // namespace ropescope::eval
