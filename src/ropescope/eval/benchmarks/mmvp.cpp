#include <algorithm>
#include <initializer_list>

#include "ropescope/core/errors.h"
#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/bracketed_options.h"
#include "ropescope/eval/units.h"
#include "ropescope/eval/vlmevalkit_forms.h"

namespace ropescope::eval {

namespace mmvp_rules {
namespace {

constexpr TextView kMarks = U"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

Json prompt(const Json& doc, const Rules&) {
  const Json& given = doc.contains("Options") ? doc["Options"] : Json();
  const std::vector<Text> options =
      given.is_array() ? doc_list(doc, "Options") : bracketed_options(doc_text(doc, "Options"), {kMarks});
  return to_utf8(doc_text(doc, "Question") + U"\n" + option_lines(lettered(options)) + U"\n" +
                 Text(kLetterRequest));
}

/// 'A' or 'B' for a letter of either case.
std::optional<char32_t> choice(char32_t c) {
  if (c == U'A' || c == U'a') return U'A';
  if (c == U'B' || c == U'b') return U'B';
  return std::nullopt;
}

/// A letter at `at`, perhaps in brackets; `at` is then behind it.
std::optional<char32_t> bracketed_choice(TextView text, size_t& at) {
  size_t i = at;
  if (i < text.size() && text[i] == U'(') ++i;
  const auto letter = i < text.size() ? choice(text[i]) : std::nullopt;
  if (!letter) return std::nullopt;
  ++i;
  if (i < text.size() && text[i] == U')') ++i;
  at = i;
  return letter;
}

/// The letter behind the first of `words`, which blanks separate and follow.
std::optional<char32_t> choice_behind(TextView text, std::initializer_list<TextView> words) {
  const Text lowered = lower(text);
  // (a text that changes its length in lower case has no places in common with the other)
  const TextView searched = lowered.size() == text.size() ? TextView(lowered) : text;
  for (size_t begin = 0; begin < searched.size(); ++begin) {
    size_t at = begin;
    bool found = true;
    for (const TextView word : words) {
      found = found && searched.compare(at, word.size(), word) == 0;
      if (!found) break;
      at += word.size();
      const size_t blank = at;
      at = past_blanks(searched, at);
      found = at > blank;
    }
    if (!found) continue;
    if (const auto letter = bracketed_choice(text, at)) return letter;
  }
  return std::nullopt;
}

/// Six forms in turn; the last ones take the end of any word ("a crab" says A, "the crab" B) and its beginning.
std::optional<char32_t> letter_in(TextView output) {
  const TextView text = strip(output);
  size_t at = 0;
  if (const auto letter = bracketed_choice(text, at)) {
    const bool dot = at < text.size() && text[at] == U'.';
    const bool whole = at + (dot ? 1 : 0) == text.size();
    if (whole || dot || (at < text.size() && is_space(text[at]))) return letter;
  }
  if (const auto letter = choice_behind(text, {U"answer", U"is"})) return letter;
  if (const auto letter = choice_behind(text, {U"option"})) return letter;
  for (size_t begin = 0; begin < text.size(); ++begin) {
    at = begin;
    const auto letter = bracketed_choice(text, at);
    if (letter && (at == text.size() || is_space(text[at]))) return letter;
  }
  return text.empty() ? std::nullopt : choice(text[0]);
}

Text gold_of(const Json& doc) {
  const Text answer = lower(strip(doc_text(doc, "Correct Answer")));
  if (contains(answer, U"(a)") || answer == U"a") return U"A";
  if (contains(answer, U"(b)") || answer == U"b") return U"B";
  return upper(answer);
}

Reading read(const Json& doc, const std::string& output, const Rules&) {
  const auto letter = letter_in(from_utf8(output));
  const bool right = letter && Text{*letter} == gold_of(doc);
  return letter_reading(letter, right);
}

/// VLMEvalKit's table: options in columns and the letter of the answer.
void adopt(Json& record) {
  if (record.contains("Options")) return;
  const std::vector<Option> options = option_columns(record);
  if (options.empty()) return;
  Json texts = Json::array();
  for (const Option& option : options) texts.push_back(to_utf8(option.text));
  record["Options"] = std::move(texts);
  adopt_column(record, "question", "Question");
  adopt_column(record, "index", "Index");
  adopt_column(record, "answer", "Correct Answer");
  for (const char* column : {"question", "index", "answer"}) record.erase(column);
  drop_option_columns(record);
}

void check(const Json& doc) {
  const Text gold = gold_of(doc);
  if (gold == U"A" || gold == U"B") return;
  throw InputError("doc: \"Correct Answer\": expected (a) or (b), found \"{}\"", to_utf8(gold));
}

/// A picture's question counts with that of its pair, which has the other answer.
class MmvpTally : public Tally {
 public:
  MmvpTally(const char* index, const char* question) : index_(index), question_(question) {}

  void add(const Json& doc, const Reading& reading) override {
    const int64_t index = doc_integer(doc, index_);
    if (index < 0) throw InputError("doc: \"{}\": expected 0 or more, found {}", index_, index);
    answers_[index] = {reading.score, doc_key(doc, question_)};
  }

  Json aggregates() const override {
    Mean all, pairs;
    const int64_t first = first_index_of_pairs(answers_);
    for (const auto& [index, answer] : answers_) {
      all.add(answer.score);
      const auto next = answers_.find(index + 1);
      if ((index - first) % 2 != 0 || next == answers_.end()) continue;
      if (next->second.question != answer.question) {
        throw InputError("MMVP: expected {} and {} to ask the same of two pictures", index, index + 1);
      }
      pairs.add(std::min(answer.score, next->second.score));
    }
    return {{"mmvp_accuracy", all.json()}, {"mmvp_pair_accuracy", pairs.json()}};
  }

 private:
  struct Answer {
    double score = 0;
    std::string question;
  };
  const char *index_, *question_;
  std::map<int64_t, Answer> answers_;
};

std::unique_ptr<Tally> tally(const Rules&) { return std::make_unique<MmvpTally>("Index", "Question"); }
std::unique_ptr<Tally> table_tally(const Rules&) { return std::make_unique<MmvpTally>("index", "question"); }
Unit unit(const Json& doc, const std::string&) { return {"", std::to_string(doc_integer(doc, "Index"))}; }
Unit table_unit(const Json& doc, const std::string&) {
  return {"", std::to_string(doc_integer(doc, "index"))};
}

}  // namespace
}  // namespace mmvp_rules

Benchmark mmvp() {
  using namespace mmvp_rules;
  Benchmark benchmark = {
      "mmvp",
      "Pairs of pictures that CLIP hardly tells apart; both questions of a pair must be right.",
      "MMVP: 300 questions, 150 pairs",
      {"Index", "Question", "Options", "Correct Answer", "image"},
      16,
      Json::json_pointer("/mmvp_pair_accuracy"),
      100,
      prompt,
      read,
      tally,
      {},
      Options::kColumns,
      adopt,
      check};
  benchmark.units.unit = unit;
  benchmark.units.pairs = true;
  benchmark.profiles = {Profile::kCurrent};
  benchmark.other_names = {"MMVP"};
  Benchmark form = vlmevalkit_choice_reading_form(benchmark, nullptr);
  form.tally = table_tally;
  form.units.unit = table_unit;
  return with_vlmevalkit(benchmark, std::move(form));
}

}  // namespace ropescope::eval
