// ANLS, the metric of DocVQA (Biten et al. 2019).
#pragma once

#include <cstdint>
#include <vector>

#include "ropescope/eval/python_text.h"

namespace ropescope::eval {

/// Levenshtein distance in code points: insert, delete, substitute 1 each.
int64_t edit_distance(TextView a, TextView b);

/// 1 - the smallest distance / length over the answers, 0 below 0.5. Both sides are compared lowered, with
/// runs of white space as one blank; the length is that of the longer upper-cased text as it was given.
double anls(TextView output, const std::vector<Text>& answers);

}  // namespace ropescope::eval
