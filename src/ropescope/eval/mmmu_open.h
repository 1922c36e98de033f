// MMMU's official rule for open questions (lmms-eval's own port of it compares single characters and is not
// followed).
#pragma once

#include <set>
#include <string>
#include <variant>
#include <vector>

#include "ropescope/eval/python_text.h"

namespace ropescope::eval {

/// A number (rounded to two decimals) or a text.
using OpenAnswer = std::variant<double, Text>;

/// What an output may be saying: the ends of sentences behind words like "so" and "is", and the numbers in
/// them.
std::set<OpenAnswer> mmmu_open_answers(TextView output);

/// A number matches an equal number; a text matches where a gold text is part of it.
bool mmmu_open_right(const std::set<OpenAnswer>& answers, const std::vector<Text>& gold);

}  // namespace ropescope::eval
