#include <algorithm>
#include <cmath>
#include <mutex>

#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"
#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/edit_distance.h"
#include "ropescope/eval/python_numbers.h"
#include "ropescope/eval/vlmevalkit.h"
#include "ropescope/eval/vlmevalkit_forms.h"

namespace ropescope::eval {

namespace mathvista_rules {
namespace {

bool is_choice(const Json& doc) { return doc_text(doc, "question_type") == U"multi_choice"; }

std::vector<Text> choices_of(const Json& doc) { return doc_list_or_none(doc, "choices"); }

/// What the closing line asks for.
Text request(const Json& doc) {
  if (is_choice(doc)) return Text(kLetterRequest);
  const Text type = doc_text(doc, "answer_type");
  if (type == U"integer") return U"Answer the question using a single integer number.";
  if (type == U"list") return U"Answer the question using a Python list.";
  const auto precision = doc.find("precision");
  const double places = precision != doc.end() && precision->is_number() ? precision->get<double>() : 0;
  if (type == U"float" && (places == 1 || places == 2)) {
    return Text(U"Answer the question using a single floating-point number with ") +
           (places == 1 ? U"one" : U"two") + U" decimal place" + (places == 1 ? U"." : U"s.");
  }
  throw InputError(
      "doc: \"answer_type\": expected integer, list, or float with a \"precision\" of 1 or 2, found \"{}\"",
      to_utf8(type));
}

Json prompt(const Json& doc, const Rules&) {
  Text text = doc_text(doc, "question");
  if (const auto unit = doc_cell(doc, "unit")) text += U" (Unit: " + *unit + U")";
  std::vector<Text> parts = {text};
  if (const auto choices = choices_of(doc); !choices.empty())
    parts.push_back(option_lines(lettered(choices)));
  parts.push_back(request(doc));
  return to_utf8(strip(join(parts, U"\n")));
}

/// The letter of one of `count` options.
std::optional<size_t> index_of_letter(TextView text, size_t count) {
  if (text.size() != 1 || text[0] < U'A' || text[0] >= U'A' + count) return std::nullopt;
  return text[0] - U'A';
}

/// The first letter in brackets, "(b)", raised; else the text.
Text bracketed_letter(const Text& text) {
  for (size_t i = 0; i + 2 < text.size(); ++i) {
    const char32_t c = text[i + 1];
    const bool letter = (c >= U'a' && c <= U'z') || (c >= U'A' && c <= U'Z');
    if (text[i] == U'(' && text[i + 2] == U')' && letter) return upper(TextView(&c, 1));
  }
  return text;
}

/// Once: the published file is such data, and its figure without a word would pass for the model's.
void warn_of_precision() {
  static std::once_flag said;
  std::call_once(said, [] {
    log_warning(
        "mathvista_mini: the data give \"precision\" as 1.0 in place of 1, with which lmms-eval scores every answer that is a decimal "
        "number wrong, and this profile too. Try: whole numbers there, or --profile vlmevalkit");
  });
}

/// What an extracted text is compared as: the text of a choice, an integer, a rounded number; none is always wrong.
std::optional<Text> normalised(const Json& doc, const Text& extracted) {
  if (is_choice(doc)) {
    const std::vector<Text> choices = choices_of(doc);
    if (choices.empty()) throw InputError("doc: \"choices\": expected a list of texts, found none");
    const Text text = bracketed_letter(Text(strip(extracted)));
    if (const auto index = index_of_letter(text, choices.size())) return choices[*index];
    const auto nearest = std::min_element(choices.begin(), choices.end(), [&](const Text& a, const Text& b) {
      return edit_distance(text, a) < edit_distance(text, b);
    });
    return *nearest;
  }
  const Text type = doc_text(doc, "answer_type");
  const auto number = parse_float(extracted);
  if (type == U"integer") {
    const auto whole = number ? python_truncated(*number) : std::nullopt;
    return whole ? std::optional(from_utf8(*whole)) : std::nullopt;
  }
  if (type != U"float") return extracted;
  // (Python rounds to an integer number of places only: data that has 1.0 in place of 1 makes every answer wrong)
  const auto precision = doc.find("precision");
  if (precision != doc.end() && precision->is_number_float()) warn_of_precision();
  if (!number || precision == doc.end() || !precision->is_number_integer()) return std::nullopt;
  return from_utf8(python_rounded(*number, precision->get<int64_t>()));
}

Reading reading_of(const Json& doc, const Text& extracted, bool undecided) {
  const auto said = undecided ? std::nullopt : normalised(doc, extracted);
  const bool right = said && strip(*said) == strip(doc_text(doc, "answer"));
  return {said ? Json(to_utf8(*said)) : Json(nullptr), std::nullopt, right ? 1.0 : 0.0, undecided || !said,
          undecided};
}

/// What needs no judge: nothing, a choice in its own words, a number; and, where the harness would ask one that could say
/// nothing else, a bare letter, a number in another form, a list.
bool speaks_for_itself(const Json& doc, const Text& text) {
  if (text.empty()) return true;
  if (is_choice(doc)) {
    const std::vector<Text> choices = choices_of(doc);
    if (std::find(choices.begin(), choices.end(), text) != choices.end()) return true;
    return index_of_letter(strip_any(text, U"()."), choices.size()).has_value();
  }
  const Text type = doc_text(doc, "answer_type");
  if (type == U"list") return text.front() == U'[' && text.back() == U']';
  const auto number = parse_float(text);
  return number && (type == U"float" || (type == U"integer" && std::isfinite(*number)));
}

Reading read(const Json& doc, const std::string& output, const Rules&) {
  const Text text(strip(from_utf8(output)));
  const bool known = speaks_for_itself(doc, text);
  const Text bare(strip_any(text, U"()."));
  const bool letter = known && is_choice(doc) && index_of_letter(bare, choices_of(doc).size());
  return reading_of(doc, letter ? bare : text, !known);
}

Reading judged(const Json& doc, const std::string&, const std::string& reply, const Rules&) {
  return reading_of(doc, Text(strip(from_utf8(reply))), /*undecided=*/false);
}

std::string judge_question(const Json& doc, const std::string& output, const Rules& rules) {
  return "A model was asked a question about a picture. Copy the final answer out of what it said, in the form that the "
         "question asks for.\n\nQuestion:\n" +
         prompt(doc, rules).get<std::string>() + "\n\nThe model's answer:\n" + output +
         "\n\nReply with that final answer and nothing else: a letter, a number or a list.";
}

/// Names of skills, and of what else the data counts by.
void add_parts(const Json& doc, double score, Means& tasks, Means& skills) {
  const Json& meta = doc.contains("metadata") && doc["metadata"].is_object() ? doc["metadata"] : doc;
  if (const auto task = doc_cell(meta, "task")) tasks[to_utf8(*task)].add(score);
  const auto found = meta.find("skills");
  if (found == meta.end() || found->is_null()) return;
  const bool list = found->is_array() || (found->is_string() && parse_string_list(doc_text(meta, "skills")));
  for (const Text& skill : list ? doc_list(meta, "skills") : std::vector<Text>{doc_text(meta, "skills")}) {
    skills[to_utf8(skill)].add(score);
  }
}

class MathvistaTally : public Tally {
 public:
  explicit MathvistaTally(const char* name) : name_(name) {}
  void add(const Json& doc, const Reading& reading) override {
    all_.add(reading.score);
    add_parts(doc, reading.score, tasks_, skills_);
  }
  Json aggregates() const override {
    const double percent = 100 * all_.value();
    constexpr double kHundredths = 100;
    return {{name_,
             all_.count() == 0 ? Json(nullptr) : Json(std::nearbyint(percent * kHundredths) / kHundredths)},
            {"accuracy", all_.json()},
            {"task", json_of(tasks_)},
            {"skills", json_of(skills_)}};
  }

 private:
  const char* name_;
  Mean all_;
  Means tasks_, skills_;
};

std::unique_ptr<Tally> paper_tally(const Rules&) {
  return std::make_unique<MathvistaTally>("gpt_eval_score");
}
std::unique_ptr<Tally> current_tally(const Rules&) {
  return std::make_unique<MathvistaTally>("llm_as_judge_eval");
}
std::unique_ptr<Tally> table_tally(const Rules&) { return std::make_unique<MathvistaTally>("acc"); }

/// A table's question is the data's `query`, which holds hint and choices: they would be asked twice.
void adopt(Json& record) {
  const bool table = record.contains("answer_option") || record.contains("index");
  if (!table || record.contains("pid") || record.contains("query")) return;
  throw InputError(
      "doc: expected lmms-eval's columns, found VLMEvalKit's table, whose question holds its hint and choices. Try: --profile "
      "vlmevalkit, which asks it");
}

void check(const Json& doc) {
  if (is_choice(doc) && choices_of(doc).empty()) {
    throw InputError("doc: \"choices\": expected a list of texts, found none");
  }
  doc_text(doc, "answer");
}

// VLMEvalKit: the data's own question, choices as letters.

std::vector<Option> table_options(const Json& doc) { return lettered(choices_of(doc)); }

/// Whether a text is the answer, and whether it is a number at all; a list never is the answer (the harness compares an
/// empty text with it).
struct NumberMatch {
  bool number = false, right = false;
};
NumberMatch match_number(const Json& doc, TextView text) {
  const Text type = doc_text(doc, "answer_type"), answer = doc_text(doc, "answer");
  if (type == U"integer") {
    const auto said = python_int(text);
    return {said.has_value(), said && said == python_int(answer)};
  }
  if (type != U"float") return {};
  const auto said = parse_float(text), gold = parse_float(answer);
  return {said.has_value(), said && gold && *said == *gold};
}

Reading table_reading(const Json& doc, const std::string& text) {
  const Text said = from_utf8(text);
  if (is_choice(doc)) {
    const auto letter = vlmevalkit_choice(said, table_options(doc), VlmEvalKitDate::kAugust2026);
    const bool right = letter && Text{*letter} == doc_text(doc, "answer_option");
    return vlmevalkit_letter_reading(letter, right);
  }
  // (the harness asks its judge about a wrong number and about a 0, too; no judge reads another number there)
  const NumberMatch match = match_number(doc, said);
  return {match.number ? Json(to_utf8(strip(said))) : Json(nullptr), std::nullopt, match.right ? 1.0 : 0.0,
          !match.number, !match.number};
}

Reading table_read(const Json& doc, const std::string& output, const Rules&) {
  return table_reading(doc, output);
}
Reading table_judged(const Json& doc, const std::string&, const std::string& reply, const Rules&) {
  return table_reading(doc, reply);
}
std::string table_question(const Json& doc, const std::string& output, const Rules&) {
  return "A model was asked a question about a picture. Copy the final answer out of what it said, in the form that the "
         "question asks for.\n\nQuestion:\n" +
         to_utf8(doc_text(doc, "question")) + "\n\nThe model's answer:\n" + output +
         "\n\nReply with that final answer and nothing else: a letter, a number or a list.";
}

/// lmms-eval's columns: the whole question is in `query`, and the letter is that of the choice that is the answer.
void adopt_table(Json& record) {
  if (record.contains("query") && record["query"].is_string()) {
    record["question"] = record["query"];
    record.erase("query");
  } else if (record.contains("pid") && !contains(doc_text(record, "question"), U"Hint:")) {
    throw InputError(
        "doc: expected \"query\", which is the question with its hint and choices, found lmms-eval's other columns. Try: "
        "--profile current, which asks without it");
  }
  if (record.contains("answer_option") || !record.contains("question_type") || !is_choice(record)) return;
  const std::vector<Text> choices = choices_of(record);
  const auto found = std::find(choices.begin(), choices.end(), doc_text(record, "answer"));
  if (found == choices.end()) return;
  record["answer_option"] = to_utf8(Text{static_cast<char32_t>(U'A' + (found - choices.begin()))});
}

void check_table(const Json& doc) {
  check(doc);
  if (!is_choice(doc)) return;
  Json letter = doc;
  letter["answer"] = to_utf8(doc_text(doc, "answer_option"));
  check_letter(letter, table_options(doc));
}

}  // namespace
}  // namespace mathvista_rules

Benchmark mathvista_mini() {
  using namespace mathvista_rules;
  Benchmark benchmark = {"mathvista_mini",
                         "Mathematics in pictures: choices, numbers and lists; a judge reads free answers.",
                         "MathVista, testmini (mathvista_testmini_format): 1000 questions",
                         {"pid", "question", "choices", "answer", "question_type", "answer_type", "precision",
                          "unit", "metadata", "image"},
                         1024,
                         Json::json_pointer("/accuracy"),
                         100,
                         prompt,
                         read,
                         paper_tally,
                         {},
                         Options::kColumns,
                         adopt,
                         check};
  benchmark.judge = {judge_question, judged};
  benchmark.other_names = {"mathvista_testmini", "mathvista_testmini_format", "MathVista_MINI"};
  Benchmark current = benchmark;
  current.tally = current_tally;
  current.max_new_tokens = 16384;
  Benchmark form = benchmark;
  form.columns = {"index",         "question",    "choices", "answer", "answer_option",
                  "question_type", "answer_type", "task",    "skills", "image"};
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
