#include <cmath>

#include "ropescope/core/errors.h"
#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/mmmu_open.h"
#include "ropescope/eval/vlmevalkit_forms.h"

namespace ropescope::eval {

namespace mmmu_mc_rules {
namespace {

bool is_open(const Json& doc) {
  const auto type = doc_cell(doc, "question_type");
  return type && *type != U"multiple-choice";
}

Json prompt(const Json& doc, const Rules&) {
  Text text = doc_text(doc, "question");
  if (is_open(doc)) return to_utf8(text + U"\n\n" + Text(kShortAnswerRequest));
  text += U"\n" + option_lines(lettered(doc_list(doc, "options")));
  return to_utf8(text + U"\n\n" + Text(kLetterRequest));
}

std::vector<Text> open_gold(const Json& doc) {
  if (doc.contains("answer") && doc["answer"].is_array()) return doc_list(doc, "answer");
  const Text answer = doc_text(doc, "answer");
  if (const auto list = parse_string_list(answer); list && answer.front() == U'[') return *list;
  return {answer};
}

Reading read_open(const Json& doc, const Text& output) {
  const auto answers = mmmu_open_answers(output);
  Json extracted = Json::array();
  for (const OpenAnswer& answer : answers) {
    extracted.push_back(answer.index() == 0 ? Json(std::get<double>(answer))
                                            : Json(to_utf8(std::get<Text>(answer))));
  }
  return {extracted, std::nullopt, mmmu_open_right(answers, open_gold(doc)) ? 1.0 : 0.0};
}

Reading read(const Json& doc, const std::string& output, const Rules&) {
  const Text text(strip(from_utf8(output)));
  if (is_open(doc)) return read_open(doc, text);
  // lmms-eval draws a letter at random where no rule finds one; here such an answer is wrong.
  const auto letter = mmmu_choice(text, lettered(doc_list(doc, "options")));
  const bool right = letter && Text{*letter} == doc_text(doc, "answer");
  return letter_reading(letter, right);
}

/// VLMEvalKit's table: columns A, B, ... in place of the list.
void adopt(Json& record) { adopt_option_list(record, "options", /*index=*/false); }

void check(const Json& doc) {
  if (!is_open(doc)) check_letter(doc, lettered(doc_list(doc, "options")));
}

/// "validation_Art_Theory_4" -> "Art_Theory"; empty for other forms.
std::string subject_of(const std::string& id) {
  const size_t first = id.find('_'), last = id.rfind('_');
  if (first == std::string::npos || last <= first + 1 || last + 1 == id.size()) return {};
  if (id.find_first_not_of("0123456789", last + 1) != std::string::npos) return {};
  return id.substr(first + 1, last - first - 1);
}

class MmmuTally : public Tally {
 public:
  void add(const Json& doc, const Reading& reading) override {
    overall_.add(reading.score);
    const auto id = doc_cell(doc, "id");
    const std::string subject = id ? subject_of(to_utf8(*id)) : "";
    if (!subject.empty()) subjects_[subject].add(reading.score);
  }

  Json aggregates() const override {
    const bool any = overall_.count() > 0;
    return {{"overall_rounded5", any ? Json(std::nearbyint(overall_.value() * 1e5) / 1e5) : Json(nullptr)},
            {"overall", overall_.json()},
            {"by_subject", json_of(subjects_)}};
  }

 private:
  Mean overall_;
  Means subjects_;
};

std::unique_ptr<Tally> tally(const Rules&) { return std::make_unique<MmmuTally>(); }

// VLMEvalKit: an open question is one of two options, its answer and "Other Answers", which only its rules see.

void adopt_table(Json& record) {
  if (record.contains("options") && option_columns(record).empty()) {
    if (doc_list(record, "options").empty()) {
      record.erase("options");
    } else {
      options_into_columns(record, "options", /*index=*/false);
    }
  }
}

void check_table(const Json& doc) {
  if (const auto options = option_columns(doc); !options.empty()) check_letter(doc, options);
}

/// "<image 1>" and so on become the places of the pictures where they name them once each in their order. (A text that
/// names them otherwise keeps its marks, and the pictures stand in front.)
Json table_prompt(const Json& doc, const Rules& rules) {
  const Text text = from_utf8(vlmevalkit_choice_prompt(doc, rules).get<std::string>());
  constexpr TextView kMark = U"<image ";
  Text placed;
  size_t from = 0;
  char32_t next = U'1';
  for (size_t at = text.find(kMark); at != Text::npos; at = text.find(kMark, from), ++next) {
    const size_t digit = at + kMark.size();
    if (digit + 1 >= text.size() || text[digit] != next || text[digit + 1] != U'>') return to_utf8(text);
    placed += text.substr(from, at - from) + U"<image>";
    from = digit + 2;
  }
  return to_utf8(placed + text.substr(from));
}

Json with_two_options(Json doc) {
  if (doc_cell(doc, "A")) return doc;
  const Text answer = doc_text(doc, "answer");
  doc["A"] = to_utf8(answer);
  doc["B"] = "Other Answers";
  if (answer.size() != 1 || answer[0] < U'A' || answer[0] > U'Z') doc["answer"] = "A";
  return doc;
}

Reading table_read(const Json& doc, const std::string& output, const Rules& rules) {
  return vlmevalkit_choice_reading(with_two_options(doc), output, rules);
}
Reading table_judged(const Json& doc, const std::string& output, const std::string& reply,
                     const Rules& rules) {
  return vlmevalkit_choice_judged(with_two_options(doc), output, reply, rules);
}
std::string table_question(const Json& doc, const std::string& output, const Rules& rules) {
  return vlmevalkit_choice_question(with_two_options(doc), output, rules);
}

/// Its table also holds the questions of `dev`, which have a figure of their own.
bool is_dev(const Json& doc) { return doc_cell(doc, "split").value_or(U"") == U"dev"; }

class TableTally : public ChoiceTally {
 public:
  void add(const Json& doc, const Reading& reading) override {
    if (!is_dev(doc)) ChoiceTally::add(doc, reading);
    if (is_dev(doc)) dev_.add(reading.score);
  }
  Json aggregates() const override {
    Json object = ChoiceTally::aggregates();
    if (dev_.count() > 0) object["split"]["dev"] = dev_.json();
    return object;
  }

 private:
  Mean dev_;
};

std::unique_ptr<Tally> table_tally(const Rules&) { return std::make_unique<TableTally>(); }
Unit table_unit(const Json& doc, const std::string& item) { return {"", item, !is_dev(doc)}; }

}  // namespace
}  // namespace mmmu_mc_rules

Benchmark mmmu_mc() {
  using namespace mmmu_mc_rules;
  Benchmark benchmark = {
      "mmmu_mc",
      "College questions of thirty subjects, multiple choice (open ones by the official rule).",
      "MMMU, validation split (mmmu_val): 900 questions",
      {"id", "question", "options", "answer", "question_type", "image_1", "image_2"},
      128,
      Json::json_pointer("/overall"),
      100,
      prompt,
      read,
      tally,
      {},
      Options::kColumns,
      adopt,
      check};
  Benchmark form = vlmevalkit_choice_form(benchmark, adopt_table);
  form.prompt = table_prompt;
  form.read = table_read;
  form.check = check_table;
  form.judge = {table_question, table_judged};
  form.tally = table_tally;
  form.units.unit = table_unit;
  return with_vlmevalkit(benchmark, std::move(form));
}

}  // namespace ropescope::eval
