// The rules of VLMEvalKit, with which DIPE was scored. Where it would ask a judge model, an answer stays
// undecided (wrong under its `exact_matching`).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ropescope/eval/letters.h"
#include "ropescope/eval/python_text.h"

namespace ropescope::eval {

/// August 2026 is commit e8e78f05, the profile's; HR-Bench's own script in lmms-eval is a copy of May 2025.
enum class VlmEvalKitDate { kMay2025, kMarch2026, kAugust2026 };

/// A letter of the item, or 'Z' for a refusal; none where it is undecided. August 2026: where no letter stands alone
/// near the end, the one of A to D that follows the first "answer is" counts, whatever it belongs to ("the answer is a
/// dog" says A).
std::optional<char32_t> vlmevalkit_choice(TextView output, const std::vector<Option>& options,
                                          VlmEvalKitDate date);

/// "Yes", "No" or "Unknown" (POPE, MME).
std::string vlmevalkit_yes_no(TextView output);

/// The normalised text that its VQA metric compares.
Text vlmevalkit_vqa_text(TextView text);
/// TextVQA's accuracy.
double vlmevalkit_vqa_score(TextView output, const std::vector<Text>& answers);

}  // namespace ropescope::eval
