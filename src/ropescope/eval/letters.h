// Which option letter an answer names. Every rule is that of a published scoring script, quirks included:
// they decide points, and scores are compared with published ones.
#pragma once

#include <optional>
#include <vector>

#include "ropescope/eval/python_text.h"

namespace ropescope::eval {

/// An option of a question, for example {U'A', U"lamp"}.
struct Option {
  char32_t letter = 0;
  Text text;
};

/// mcq_extract of lmms-eval 0.7.3: candidates of eleven kinds, the kind of highest priority wins, then the
/// last position. `letters` empty: A-H.
std::optional<char32_t> extract_choice(TextView output, TextView letters);

/// MMBench's option rule: a letter that stands alone (or with one of twelve forms of brackets) as exactly one
/// part of the output; five letters, whatever the item has.
std::optional<char32_t> mmbench_option_rule(TextView output);
/// MMBench's text rule: the one option whose lowered text occurs in the lowered output.
std::optional<char32_t> mmbench_text_rule(TextView output, const std::vector<Option>& options);

/// The multiple-choice rule of MMMU; none where the reference draws at random.
std::optional<char32_t> mmmu_choice(TextView output, const std::vector<Option>& options);

}  // namespace ropescope::eval
