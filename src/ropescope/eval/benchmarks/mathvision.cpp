#include <algorithm>
#include <cmath>
#include <utility>

#include "ropescope/core/errors.h"
#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/math_answer.h"
#include "ropescope/eval/vlmevalkit.h"
#include "ropescope/eval/vlmevalkit_forms.h"

namespace ropescope::eval {

namespace mathvision_rules {
namespace {

std::vector<Text> options_of(const Json& doc) { return doc_list_or_none(doc, "options"); }

Json prompt(const Json& doc, const Rules&) {
  Text text = U"Please solve the problem step by step and put your answer in one \"\\boxed{}\"." +
              doc_text(doc, "question");
  if (const auto options = options_of(doc); !options.empty()) {
    text += U"\nChoices: " + option_lines(lettered(options)) +
            U"\nAnswer the question with the option's letter from the given choices directly.";
  }
  return to_utf8(text);
}

bool begins_with(const Text& text, const Text& start) { return text.compare(0, start.size(), start) == 0; }
bool ends_with(const Text& text, const Text& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

/// A sentence that ends with a letter, or a line of one, becomes that letter.
Text with_only_letter(Text text) {
  for (const char32_t c : TextView(U"ABCDE")) {
    const Text letter{c}, marked = U"(" + letter + U")";
    const bool ends = ends_with(text, U" " + letter + U".") || ends_with(text, U" " + marked + U".");
    const bool begins = begins_with(text, letter + U"\n") || begins_with(text, marked + U"\n") ||
                        begins_with(text, marked + U" " + letter + U"\n");
    if (ends || begins) text = letter;
  }
  return text;
}

Text without_dots_behind(Text text) {
  while (!text.empty() && text.back() == U'.') text.pop_back();
  return text;
}

/// What is said behind the last of an announcement, up to the end of its line and sentence.
Text announced(Text text, const Text& phrase) {
  const size_t at = text.rfind(phrase);
  if (at == Text::npos) return Text(strip(text));
  text = Text(strip(TextView(text).substr(at + phrase.size())));
  text = text.substr(0, text.find(U'\n'));
  return text.substr(0, text.find(U". "));
}

/// Rules of the harness in its order: letters, numbers behind "is", announcements, boxes; then the formula itself.
Text extracted(TextView output) {
  Text text = with_only_letter(Text(strip(output)));
  const size_t is = text.rfind(U"is ");
  const Text number = without_dots_behind(is == Text::npos ? text : text.substr(is + 3));
  if (parse_float(number)) text = number;
  constexpr TextView kBox = U"oxed{";
  const size_t box = text.find(kBox), last_box = text.rfind(kBox);
  if (box == Text::npos) {
    for (const TextView phrase : {TextView(U"the final answer is"), TextView(U"the answer is"),
                                  TextView(U"the correct answer is"), TextView(U"the answer should be")}) {
      text = announced(text, Text(phrase));
      text = announced(text, U"T" + Text(phrase.substr(1)));
    }
  } else if (last_box != box) {
    text = U"\\boxed{" + text.substr(last_box + kBox.size());
  }
  text = math_answer(text);
  for (const auto& [open, close] : {std::pair(U'(', U')'), std::pair(U'{', U'}')}) {
    for (const char32_t c : TextView(U"abcde")) text = replace_all(text, Text{open, c, close}, Text{c});
  }
  text = without_dots_behind(text);
  return Text(strip(TextView(text).substr(std::min(text.find_first_not_of(U':'), text.size()))));
}

Reading read(const Json& doc, const std::string& output, const Rules& rules) {
  const MathNames names = rules.profile == Profile::kPaper ? MathNames::kRootsAndPi : MathNames::kNone;
  const Text said = extracted(from_utf8(output)), gold = doc_text(doc, "answer");
  bool right = math_equal(gold, said, names);
  if (const auto options = options_of(doc); !options.empty()) {
    for (const Option& option : lettered(options)) {
      if (Text{option.letter} == gold) right = right || math_equal(option.text, said, names);
    }
  }
  return {to_utf8(said), std::nullopt, right ? 1.0 : 0.0, said.empty()};
}

void check_answer(const Json& doc, const std::vector<Text>& options) {
  if (options.empty()) {
    doc_text(doc, "answer");
  } else {
    check_letter(doc, lettered(options));
  }
}
void check(const Json& doc) { check_answer(doc, options_of(doc)); }

/// The harness prints percent to two decimals.
class MathvisionTally : public Tally {
 public:
  explicit MathvisionTally(const char* subject) : subject_(subject) {}
  void add(const Json& doc, const Reading& reading) override {
    all_.add(reading.score);
    if (const auto subject = doc_cell(doc, subject_)) subjects_[to_utf8(*subject)].add(reading.score);
  }
  Json aggregates() const override {
    constexpr double kHundredths = 100;
    const double percent = 100 * all_.value();
    return {{"mathvision_standard_eval",
             all_.count() == 0 ? Json(nullptr) : Json(std::nearbyint(percent * kHundredths) / kHundredths)},
            {"accuracy", all_.json()},
            {"subject", json_of(subjects_)}};
  }

 private:
  const char* subject_;
  Mean all_;
  Means subjects_;
};

std::unique_ptr<Tally> tally(const Rules&) { return std::make_unique<MathvisionTally>("subject"); }
std::unique_ptr<Tally> table_tally(const Rules&) { return std::make_unique<MathvisionTally>("category"); }

// VLMEvalKit: choices as letters, everything else by its judge unless it is the answer as it stands.

Reading table_reading(const Json& doc, const std::string& text) {
  const Text said = from_utf8(text);
  if (const auto choices = doc_list(doc, "choices"); !choices.empty()) {
    const auto letter = vlmevalkit_choice(said, lettered(choices), VlmEvalKitDate::kAugust2026);
    const bool right = letter && vlmevalkit_math_equal(Text{*letter}, doc_text(doc, "answer"));
    return vlmevalkit_letter_reading(letter, right);
  }
  const bool right = vlmevalkit_math_equal(said, doc_text(doc, "answer"));
  return {right ? Json(text) : Json(nullptr), std::nullopt, right ? 1.0 : 0.0, !right, !right};
}

Reading table_read(const Json& doc, const std::string& output, const Rules&) {
  return table_reading(doc, output);
}
Reading table_judged(const Json& doc, const std::string&, const std::string& reply, const Rules&) {
  Reading reading = table_reading(doc, reply);
  if (reading.extracted.is_null() && doc_list(doc, "choices").empty()) {
    // (a judge has spoken: another answer is wrong, not undecided)
    reading.extracted = reply;
    reading.undecided = false;
    reading.unreadable = strip(from_utf8(reply)).empty();
  }
  return reading;
}
std::string table_question(const Json& doc, const std::string& output, const Rules&) {
  return "A model was asked a mathematical question about a picture. Copy the final answer out of what it said.\n\n"
         "Question:\n" +
         to_utf8(doc_text(doc, "question")) + "\n\nThe model's answer:\n" + output +
         "\n\nReply with that final answer and nothing else: a letter, a number or a formula.";
}

/// A table's question holds its choices: with the column's they would be asked twice.
void adopt(Json& record) {
  const bool table = record.contains("index") && !record.contains("options");
  if (table && !doc_list_or_none(record, "choices").empty()) {
    throw InputError(
        "doc: expected lmms-eval's \"options\", found VLMEvalKit's table, whose question holds its choices. Try: --profile "
        "vlmevalkit, which asks it");
  }
  adopt_column(record, "choices", "options");
  adopt_column(record, "category", "subject");
}
/// The other way round the choices would not be asked at all.
void adopt_table(Json& record) {
  if (!record.contains("choices")) {
    if (!options_of(record).empty()) {
      throw InputError(
          "doc: expected VLMEvalKit's table, whose question holds its choices, found \"options\" beside the question. Try: "
          "--profile current, which asks them");
    }
    record["choices"] = Json::array();
  }
  adopt_column(record, "subject", "category");
}
void check_table(const Json& doc) { check_answer(doc, doc_list(doc, "choices")); }

}  // namespace
}  // namespace mathvision_rules

Benchmark mathvision_mini() {
  using namespace mathvision_rules;
  Benchmark benchmark = {"mathvision_mini",
                         "Problems of mathematics competitions with figures: choices and free answers.",
                         "MATH-Vision, testmini (mathvision_testmini): 304 questions",
                         {"id", "question", "options", "answer", "subject", "image"},
                         1024,
                         Json::json_pointer("/accuracy"),
                         100,
                         prompt,
                         read,
                         tally,
                         {},
                         Options::kColumns,
                         adopt,
                         check};
  benchmark.other_names = {"mathvision_testmini", "MathVision_MINI", "MathVision"};
  Benchmark current = benchmark;
  current.max_new_tokens = 16384;
  Benchmark form = benchmark;
  form.columns = {"index", "question", "choices", "answer", "category", "image"};
  form.prompt = vlmevalkit_bare_prompt;
  form.read = table_read;
  form.judge = {table_question, table_judged};
  form.tally = table_tally;
  form.adopt = adopt_table;
  form.check = check_table;
  form.max_new_tokens = kVlmEvalKitTokens;
  benchmark.variants[Profile::kCurrent] = std::make_shared<const Benchmark>(std::move(current));
  return with_vlmevalkit(std::move(benchmark), std::move(form));
}

}  // namespace ropescope::eval
