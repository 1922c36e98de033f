#include <map>
#include <memory>

#include "ropescope/core/errors.h"
#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/vlmevalkit_forms.h"
#include "ropescope/text/regex.h"

namespace ropescope::eval {

namespace blink_rules {
namespace {

/// A, B, ... as far as there are choices; all 26 where there are none.
Text letters_of(const Json& doc) {
  const size_t count = doc.contains("choices") ? doc_list(doc, "choices").size() : 0;
  Text letters;
  for (char32_t letter = U'A'; letter <= U'Z' && (count == 0 || letters.size() < count); ++letter)
    letters += letter;
  return letters;
}

Json prompt(const Json& doc, const Rules&) {
  std::vector<Text> letters;
  for (const Option& option : lettered(doc_list(doc, "choices"))) letters.push_back(Text{option.letter});
  return to_utf8(U"Note: You only need to respond with " + join(letters, U", ") +
                 U" without providing any additional information.\n" + doc_text(doc, "prompt"));
}

/// The letter of `letters` at a place, in any case.
std::optional<char32_t> choice_at(TextView text, size_t at, TextView letters) {
  if (at >= text.size()) return std::nullopt;
  const Text raised = upper(text.substr(at, 1));
  return raised.size() == 1 && contains(letters, raised) ? std::optional(raised[0]) : std::nullopt;
}

/// A first line of four characters or fewer that is the letter, perhaps in brackets, before punctuation and blanks.
std::optional<char32_t> terse_choice(TextView text, TextView letters) {
  constexpr size_t kMost = 4;
  const TextView line = strip(text.substr(0, text.find(U'\n')));
  if (line.size() > kMost) return std::nullopt;
  size_t at = !line.empty() && line[0] == U'(' ? 1 : 0;
  const auto letter = choice_at(line, at, letters);
  if (!letter) return std::nullopt;
  for (++at; at < line.size(); ++at) {
    if (!is_space(line[at]) && !contains(U".:,)", line.substr(at, 1))) return std::nullopt;
  }
  return letter;
}

/// Built once for each set of letters, of which data have a few.
const Regex& stated_pattern(TextView letters) {
  static thread_local std::map<Text, std::unique_ptr<const Regex>> patterns;
  std::unique_ptr<const Regex>& pattern = patterns[Text(letters)];
  if (!pattern) {
    const std::string set = "[" + to_utf8(letters) + "]";
    pattern = std::make_unique<const Regex>(
        "(?i)answers?(?:\\s+is)?\\s*[:\\-]?\\s*\\(?" + set + "\\)?(?![A-Za-z])", "BLINK");
  }
  return *pattern;
}

/// The last letter behind the word "answer", with or without "is", a colon, a hyphen or brackets.
std::optional<char32_t> stated_choice(TextView text, TextView letters) {
  const Regex& pattern = stated_pattern(letters);
  const std::string utf8 = to_utf8(text);
  RegexScratch scratch;
  std::optional<char32_t> last;
  size_t begin = 0, end = 0;
  for (size_t from = 0; pattern.find(utf8, from, scratch, begin, end); from = end) {
    const Text match = from_utf8(utf8.substr(begin, end - begin));
    last = upper(match.substr(match.size() - (match.back() == U')' ? 2 : 1), 1))[0];
  }
  return last;
}

std::optional<char32_t> letter_in(TextView output, TextView letters) {
  const TextView text = strip(output);
  if (const auto letter = terse_choice(text, letters)) return letter;
  if (const auto letter = stated_choice(text, letters)) return letter;
  for (size_t i = text.size(); i-- > 0;) {
    const bool marked = i > 0 && i + 1 < text.size() && text[i - 1] == U'(' && text[i + 1] == U')';
    if (marked && contains(letters, text.substr(i, 1))) return text[i];
  }
  size_t at = 0;
  while (at < text.size() && (text[at] == U'(' || is_space(text[at]))) ++at;
  return choice_at(text, at, letters);
}

Reading read(const Json& doc, const std::string& output, const Rules&) {
  const auto letter = letter_in(from_utf8(output), letters_of(doc));
  const bool right = letter && Text{*letter} == strip_any(doc_text(doc, "answer"), U"()");
  return letter_reading(letter, right);
}

/// VLMEvalKit's table: options in columns, the sub-task as `category`. (Its questions have the options behind them.)
void adopt(Json& record) {
  adopt_option_list(record, "choices", /*index=*/false);
  adopt_column(record, "category", "sub_task");
  if (record.contains("choices") && record.contains("question") && !record.contains("prompt")) {
    Text text = doc_text(record, "question") + U"\nSelect from the following choices.";
    for (const Text& line : bracketed(doc_list(record, "choices"))) text += U"\n" + line;
    record["prompt"] = to_utf8(text);
  }
}

/// The other way round.
void adopt_table(Json& record) {
  options_into_columns(record, "choices", /*index=*/false);
  adopt_column(record, "sub_task", "category");
  if (record.contains("answer") && record["answer"].is_string()) {
    record["answer"] = to_utf8(strip_any(doc_text(record, "answer"), U"()"));
  }
}

void check(const Json& doc) {
  const Text gold(strip_any(doc_text(doc, "answer"), U"()"));
  if (gold.size() != 1 || !contains(letters_of(doc), gold)) {
    throw InputError("doc: \"answer\": expected the letter of a choice, as \"(A)\", found \"{}\"",
                     to_utf8(gold));
  }
  doc_key(doc, "sub_task");
}

/// The mean of the sub-tasks' shares.
class BlinkTally : public Tally {
 public:
  void add(const Json& doc, const Reading& reading) override {
    all_.add(reading.score);
    tasks_[doc_key(doc, "sub_task")].add(reading.score);
  }
  Json aggregates() const override {
    return {{"blink_acc", tasks_.empty() ? Json(nullptr) : Json(mean_of(tasks_))},
            {"accuracy", all_.json()},
            {"sub_task", json_of(tasks_)}};
  }

 private:
  Mean all_;
  Means tasks_;
};

std::unique_ptr<Tally> tally(const Rules&) { return std::make_unique<BlinkTally>(); }
Unit unit(const Json& doc, const std::string& item) { return {doc_key(doc, "sub_task"), item}; }

}  // namespace
}  // namespace blink_rules

Benchmark blink() {
  using namespace blink_rules;
  Benchmark benchmark = {
      "blink",
      "Fourteen tasks that people solve at a glance, often over several pictures.",
      "BLINK, validation split: 1901 questions",
      {"idx", "prompt", "choices", "answer", "sub_task", "image_1", "image_2", "image_3", "image_4"},
      1024,
      Json::json_pointer("/blink_acc"),
      100,
      prompt,
      read,
      tally,
      {unit, nullptr, nullptr},
      Options::kColumns,
      adopt,
      check};
  benchmark.profiles = {Profile::kCurrent};
  benchmark.other_names = {"BLINK"};
  return with_vlmevalkit(benchmark, vlmevalkit_choice_form(benchmark, adopt_table));
}

}  // namespace ropescope::eval
