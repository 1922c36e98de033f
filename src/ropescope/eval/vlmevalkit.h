// The rules of VLMEvalKit, with which DIPE was scored. Where it would ask a judge model, an answer stays
// undecided (wrong under its `exact_matching`).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ropescope/eval/letters.h"
#include "ropescope/eval/python_text.h"

namespace ropescope::eval {

enum class VlmEvalKitDate { kMay2025, kMarch2026 };

/// A letter of the item, or 'Z' for a refusal; none where it is undecided.
std::optional<char32_t> vlmevalkit_choice(TextView output, const std::vector<Option>& options,
                                          VlmEvalKitDate date);

/// "Yes", "No" or "Unknown" (POPE, MME).
std::string vlmevalkit_yes_no(TextView output);

/// The normalised text that its VQA metric compares.
Text vlmevalkit_vqa_text(TextView text);
/// TextVQA's accuracy.
double vlmevalkit_vqa_score(TextView output, const std::vector<Text>& answers);

}  // namespace ropescope::eval
