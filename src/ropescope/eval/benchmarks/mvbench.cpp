#include <algorithm>
#include <array>

#include "ropescope/core/errors.h"
#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/video_rules.h"
#include "ropescope/eval/vqa_text.h"

namespace ropescope::eval {

namespace mvbench_rules {
namespace {

Json prompt(const Json& doc, const Rules&) {
  Text text = U"Question:" + doc_text(doc, "question") + U"\nOption:\n";
  for (const Text& line : bracketed(doc_list(doc, "candidates"))) text += line + U"\n";
  return to_utf8(text + U"Only give the best option.\n");
}

/// The letter of the candidate that is the answer.
char32_t gold_letter(const Json& doc) {
  const std::vector<Text> candidates = doc_list(doc, "candidates");
  const Text answer = doc_text(doc, "answer");
  const auto found = std::find(candidates.begin(), candidates.end(), answer);
  if (found == candidates.end()) {
    throw InputError("doc: \"answer\": expected one of the candidates, found \"{}\"", to_utf8(answer));
  }
  return letter_of(found - candidates.begin(), candidates.size(), "answer");
}

bool is_option_letter(char32_t c) { return (c >= U'A' && c <= U'E') || (c >= U'a' && c <= U'e'); }
char32_t capital(char32_t c) { return c >= U'a' ? c - U'a' + U'A' : c; }

/// "B. some text" on one line (the text may begin on the next one): its letter.
std::optional<char32_t> dotted_letter(TextView text) {
  if (text.size() < 3 || !is_option_letter(text[0]) || text[1] != U'.') return std::nullopt;
  const TextView rest = strip(text.substr(2));
  if (rest.empty() || rest.find(U'\n') != TextView::npos) return std::nullopt;
  return capital(text[0]);
}

/// The first letter A to E that stands as a word, in any case: "a" too.
std::optional<char32_t> word_letter(TextView text) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (is_option_letter(text[i]) && is_word_boundary(text, i) && is_word_boundary(text, i + 1))
      return capital(text[i]);
  }
  return std::nullopt;
}

/// What the answer is compared by: a letter, or its text without punctuation.
Text compared(TextView output) {
  const TextView text = strip(output);
  if (const auto letter = dotted_letter(text)) return Text{*letter};
  Text plain = vqa_punctuation(vqa_one_line(text), VqaPunctuation::kSingleComma);
  for (const TextView mark : {U"'", U"\"", U")", U"("}) plain = Text(strip_any(plain, mark));
  plain = lower(strip(plain));
  const auto letter = word_letter(plain);
  return letter ? Text{*letter} : plain;
}

Reading read(const Json& doc, const std::string& output, const Rules&) {
  const Text text(strip(from_utf8(output)));
  const char32_t gold = gold_letter(doc);
  if (text.empty()) return {nullptr, std::nullopt, 0.0, true};
  const Text said = compared(text);
  // (a sixth candidate's letter is compared as the text that the rule makes of it)
  const bool letter = said.size() == 1 && said[0] >= U'A' && said[0] <= U'E';
  const bool right = said == compared(Text{gold});
  return {to_utf8(said), std::nullopt, right ? 1.0 : 0.0, !letter && !right};
}

void check(const Json& doc) { gold_letter(doc); }

/// A task's share of right answers, and the same among answers that are not empty: the harness leaves out the others.
class MvbenchTally : public Tally {
 public:
  void add(const Json& doc, const Reading& reading) override {
    const std::string task = doc_key(doc, "task");
    tasks_[task].add(reading.score);
    if (!reading.extracted.is_null()) answered_[task].add(reading.score);
  }

  Json aggregates() const override {
    return {{"average", tasks_.empty() ? Json(nullptr) : Json(mean_of(tasks_))},
            {"tasks", json_of(tasks_)},
            {"mvbench_accuracy", json_of(answered_)}};
  }

 private:
  Means tasks_, answered_;
};

std::unique_ptr<Tally> tally(const Rules&) { return std::make_unique<MvbenchTally>(); }

void adopt(Json& record) { adopt_column(record, "task_type", "task"); }

Unit unit(const Json& doc, const std::string& item) {
  const std::string task = doc_key(doc, "task");
  return {task, task + "/" + clip_name(doc, item)};
}

std::string task_of(const Json& doc) { return doc_key(doc, "task"); }

}  // namespace
}  // namespace mvbench_rules

Benchmark mvbench() {
  using namespace mvbench_rules;
  Benchmark benchmark = {"mvbench",
                         "Twenty tasks on what moves and changes in short clips, multiple choice.",
                         "MVBench, 20 tasks: 4000 questions",
                         {"video", "question", "candidates", "answer", "task"},
                         16,
                         Json::json_pointer("/average"),
                         100,
                         prompt,
                         read,
                         tally,
                         {unit, unit_mean, nullptr, task_of},
                         Options::kColumns,
                         adopt,
                         check};
  benchmark.units.weigh_items = true;
  benchmark.about_clips = true;
  return benchmark;
}

}  // namespace ropescope::eval
