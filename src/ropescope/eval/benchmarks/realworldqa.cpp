#include <array>

#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/vlmevalkit_forms.h"

namespace ropescope::eval {

namespace realworldqa_rules {
namespace {

Json prompt(const Json& doc, const Rules&) { return to_utf8(strip(doc_text(doc, "question"))); }

Text digit_for_number_word(const Text& output) {
  static constexpr std::array<TextView, 11> kWords = {U"zero", U"one",   U"two",   U"three", U"four", U"five",
                                                      U"six",  U"seven", U"eight", U"nine",  U"ten"};
  const Text lowered = lower(output);
  for (size_t i = 0; i < kWords.size(); ++i) {
    if (lowered == kWords[i]) return from_utf8(std::to_string(i));
  }
  return output;
}

/// The texts of \b([A-Z])\.\s+([^\n]*) in the question, stripped. Letters are counted off, whatever they
/// were; of equal texts the last letter counts.
std::vector<Option> options_in(TextView question) {
  std::vector<Text> texts;
  for (size_t i = 0; i + 2 < question.size(); ++i) {
    const bool letter = question[i] >= U'A' && question[i] <= U'Z' && is_word_boundary(question, i);
    if (!letter || question[i + 1] != U'.' || !is_space(question[i + 2])) continue;
    const size_t begin = past_blanks(question, i + 2);
    const size_t end = std::min(question.find(U'\n', begin), question.size());
    texts.emplace_back(strip(question.substr(begin, end - begin)));
    i = end - 1;  // matches do not overlap
  }
  return lettered(texts);
}

/// The letter of the option text that occurs first in the output, else the output without punctuation.
Text filtered(const Json& doc, const std::string& output) {
  Text cleaned;
  for (const char32_t c : digit_for_number_word(from_utf8(output))) {
    if (is_word(c) || is_space(c)) cleaned += c;
  }
  cleaned = Text(strip(cleaned));
  const std::vector<Option> options = options_in(doc_text(doc, "question"));
  for (size_t at = 0; at <= cleaned.size(); ++at) {
    for (const Option& option : options) {
      if (cleaned.compare(at, option.text.size(), option.text) != 0) continue;
      char32_t letter = option.letter;
      for (const Option& other : options) {
        if (other.text == option.text) letter = other.letter;
      }
      return Text{letter};
    }
  }
  return cleaned;
}

constexpr TextView kLetters = U"ABCD";

bool is_choice(TextView text) { return text.size() == 1 && contains(kLetters, text); }

bool right_in_current(const Text& output, const Text& answer) {
  if (is_choice(answer)) {
    const auto letter = extract_choice(output, kLetters);
    return letter && *letter == answer[0];
  }
  Text lowered = lower(output);
  while (!lowered.empty() && lowered.back() == U'.') lowered.pop_back();
  return lowered == lower(answer);
}

Reading read(const Json& doc, const std::string& output, const Rules& rules) {
  const Text answer = doc_text(doc, "answer");
  if (rules.profile == Profile::kCurrent) {
    const bool right = right_in_current(Text(strip(from_utf8(output))), answer);
    const Text said(strip(from_utf8(output)));
    return {nullptr, std::nullopt, right ? 1.0 : 0.0, is_choice(answer) && !extract_choice(said, kLetters)};
  }
  const Text text = filtered(doc, output);
  const bool unreadable = is_choice(answer) && !is_choice(upper(strip(text)));
  return {to_utf8(text), std::nullopt, exact_match(strip(text), answer) ? 1.0 : 0.0, unreadable};
}

/// As the data set writes them behind the question.
Text options_text(const std::vector<Option>& options) {
  return U"\n\n" + option_lines(options) +
         U"\nPlease answer directly with only the letter of the correct option and nothing else.";
}
void adopt(Json& record) { adopt_options_into_question(record, options_text); }

}  // namespace
}  // namespace realworldqa_rules

Benchmark realworldqa() {
  using namespace realworldqa_rules;
  Benchmark benchmark = exact_match_benchmark(
      "realworldqa", "Photographs from vehicles and daily life; letters, words or numbers.",
      "RealWorldQA: 765 questions", {"question", "answer", "image"}, prompt, read);
  benchmark.options = Options::kInQuestion;
  benchmark.adopt = adopt;
  return with_vlmevalkit(benchmark, vlmevalkit_choice_form(benchmark, nullptr));
}

}  // namespace ropescope::eval
