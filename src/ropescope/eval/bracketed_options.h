// Options that stand in one text as "(A) red (B) blue": V* and MMVP, as lmms-eval takes them apart.
#pragma once

#include <vector>

#include "ropescope/eval/python_text.h"

namespace ropescope::eval {

/// Which letters stand in the brackets, and whether a closing bracket alone ends an option's text.
struct BracketedForm {
  TextView letters;
  bool closing_ends = false;
};

/// The texts behind the marks, stripped, in their order; whatever letters the marks have, none is skipped or sorted. A
/// text ends at the next mark or at the end; where a bracket stands in it, it is no option.
std::vector<Text> bracketed_options(TextView text, const BracketedForm& form);

}  // namespace ropescope::eval
