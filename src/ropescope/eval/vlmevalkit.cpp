#include "ropescope/eval/vlmevalkit.h"

#include <algorithm>
#include <array>

#include "ropescope/eval/doc.h"
#include "ropescope/eval/vqa_text.h"

namespace ropescope::eval {

namespace {

/// None where the text rule comes next.
std::optional<char32_t> choice_by_letter(TextView output, const std::vector<Option>& options,
                                         VlmEvalKitDate date) {
  static constexpr std::array<TextView, 4> kRefusals = {
      U"Sorry, I can't help with images of people yet.", U"I can't process this file.",
      U"I'm sorry, but without the image provided", U"Cannot determine the answer"};
  for (const TextView refusal : kRefusals) {
    if (contains(output, refusal)) return U'Z';
  }
  Text blanked(output);
  for (char32_t& c : blanked) {
    if (contains(U".()[],:;!*#{}", Text{c})) c = U' ';
  }
  const std::vector<Text> parts = split(blanked);
  const auto place = [&](char32_t letter) { return std::find(parts.begin(), parts.end(), Text{letter}); };
  std::optional<char32_t> found;
  size_t letters = 0;
  for (const Option& option : options) {
    if (place(option.letter) == parts.end()) continue;
    found = option.letter;
    ++letters;
  }
  if (letters == 0 && place(U'Z') != parts.end()) return U'Z';
  if (letters != 1) return std::nullopt;
  // A letter far from the end may be an article, or part of a discussion.
  constexpr std::ptrdiff_t kLastParts = 4;
  const bool late = parts.end() - place(*found) <= kLastParts;
  return late || date == VlmEvalKitDate::kMay2025 ? found : std::nullopt;
}

}  // namespace

std::optional<char32_t> vlmevalkit_choice(TextView output, const std::vector<Option>& options,
                                          VlmEvalKitDate date) {
  if (!contains(output, U"Failed to obtain answer via API")) {
    if (const auto letter = choice_by_letter(output, options, date)) return letter;
  }
  size_t option_characters = 0;
  for (const Option& option : options) option_characters += option.text.size();
  const Text lowered = lower(output);
  if (date == VlmEvalKitDate::kMarch2026 && lowered.size() > 2 * option_characters) return std::nullopt;
  return mmbench_text_rule(lowered, options);
}

std::string vlmevalkit_yes_no(TextView output) {
  const std::vector<Text> parts = split(vqa_punctuation(lower(output), VqaPunctuation::kDigitsAround));
  const bool yes = std::find(parts.begin(), parts.end(), U"yes") != parts.end();
  const bool no = std::find(parts.begin(), parts.end(), U"no") != parts.end();
  return yes == no ? "Unknown" : yes ? "Yes" : "No";
}

Text vlmevalkit_vqa_text(TextView text) {
  return vqa_digits_articles(vqa_punctuation(vqa_one_line(text), VqaPunctuation::kDigitsAround));
}

double vlmevalkit_vqa_score(TextView output, const std::vector<Text>& answers) {
  std::vector<Text> normal;
  for (const Text& answer : answers) normal.push_back(vlmevalkit_vqa_text(answer));
  return vqa_accuracy(vlmevalkit_vqa_text(output), normal);
}

}  // namespace ropescope::eval
