#include "ropescope/eval/vlmevalkit.h"

#include <algorithm>
#include <array>

#include "ropescope/eval/doc.h"
#include "ropescope/eval/vqa_text.h"

namespace ropescope::eval {

namespace {

/// Case as Python's re.IGNORECASE folds it, of single characters.
char32_t folded(char32_t c) {
  if (c == U'\u017F') return U's';
  if (c == U'\u0131' || c == U'\u0130') return U'i';
  const Text lowered = lower(TextView(&c, 1));
  return lowered.size() == 1 ? lowered[0] : c;
}

/// Skips `word` at text[at]; false where something else stands there.
bool skip_word(TextView text, size_t& at, TextView word) {
  if (text.size() - at < word.size()) return false;
  for (size_t i = 0; i < word.size(); ++i) {
    if (folded(text[at + i]) != word[i]) return false;
  }
  at += word.size();
  return true;
}

bool skip_some_blanks(TextView text, size_t& at) {
  const size_t begin = at;
  at = past_blanks(text, at);
  return at > begin;
}

/// The letter behind the first "answer is" that has one of A to D there, in any case and behind any number of asterisks.
std::optional<char32_t> letter_behind_answer_is(TextView output) {
  for (size_t begin = 0; begin < output.size(); ++begin) {
    size_t at = begin;
    if (!skip_word(output, at, U"answer") || !skip_some_blanks(output, at) || !skip_word(output, at, U"is") ||
        !skip_some_blanks(output, at)) {
      continue;
    }
    while (at < output.size() && output[at] == U'*') ++at;
    if (at == output.size()) continue;
    const char32_t letter = folded(output[at]);
    if (letter >= U'a' && letter <= U'd') return letter - U'a' + U'A';
  }
  return std::nullopt;
}

/// The option letter that stands alone in the output, once; 'Z' where the output gives that instead.
std::optional<char32_t> standing_letter(TextView output, const std::vector<Option>& options,
                                        VlmEvalKitDate date) {
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

/// None where the text rule comes next.
std::optional<char32_t> choice_by_letter(TextView output, const std::vector<Option>& options,
                                         VlmEvalKitDate date) {
  static constexpr std::array<TextView, 4> kRefusals = {
      U"Sorry, I can't help with images of people yet.", U"I can't process this file.",
      U"I'm sorry, but without the image provided", U"Cannot determine the answer"};
  for (const TextView refusal : kRefusals) {
    if (contains(output, refusal)) return U'Z';
  }
  if (const auto letter = standing_letter(output, options, date)) return letter;
  if (date != VlmEvalKitDate::kAugust2026) return std::nullopt;
  const auto letter = letter_behind_answer_is(output);
  const bool known = letter && std::any_of(options.begin(), options.end(),
                                           [&](const Option& option) { return option.letter == *letter; });
  return known ? letter : std::nullopt;
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
  if (date != VlmEvalKitDate::kMay2025 && lowered.size() > 2 * option_characters) return std::nullopt;
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
