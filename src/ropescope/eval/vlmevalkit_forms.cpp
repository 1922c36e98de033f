#include "ropescope/eval/vlmevalkit_forms.h"

#include <algorithm>
#include <utility>

#include "ropescope/core/errors.h"
#include "ropescope/eval/doc.h"
#include "ropescope/eval/option_columns.h"
#include "ropescope/eval/vlmevalkit.h"

namespace ropescope::eval {

Json vlmevalkit_choice_prompt(const Json& doc, const Rules&) {
  Text text;
  if (const auto hint = doc_cell(doc, "hint")) text += U"Hint: " + *hint + U"\n";
  text += U"Question: " + doc_text(doc, "question") + U"\n";
  const std::vector<Option> options = option_columns(doc);
  if (options.empty()) return to_utf8(text);
  text += U"Options:\n" + option_lines(options) + U"\n";
  return to_utf8(text + U"Please select the correct answer from the options above. \n");
}

namespace {

Reading choice_of(const Json& doc, const std::string& text) {
  const auto letter = vlmevalkit_choice(from_utf8(text), option_columns(doc), VlmEvalKitDate::kAugust2026);
  const bool right = letter && Text{*letter} == doc_text(doc, "answer");
  return vlmevalkit_letter_reading(letter, right);
}

}  // namespace

Reading vlmevalkit_letter_reading(std::optional<char32_t> letter, bool right) {
  return {json_letter(letter), std::nullopt, right ? 1.0 : 0.0, !letter || *letter == U'Z', !letter};
}

Reading vlmevalkit_choice_reading(const Json& doc, const std::string& output, const Rules&) {
  return choice_of(doc, output);
}

Reading vlmevalkit_choice_judged(const Json& doc, const std::string&, const std::string& reply,
                                 const Rules&) {
  return choice_of(doc, reply);
}

std::string vlmevalkit_choice_question(const Json& doc, const std::string& output, const Rules&) {
  return "A model was asked a question with several options. Say which option its answer chooses.\n\nQuestion: " +
         to_utf8(doc_text(doc, "question")) + "\nOptions:\n" + to_utf8(option_lines(option_columns(doc))) +
         "\n\nThe model's answer:\n" + output +
         "\n\nReply with the letter of that option and nothing else; with Z if it chooses none of them.";
}

namespace {

void check_columns(const Json& doc) {
  const std::vector<Option> options = option_columns(doc);
  if (options.empty()) {
    throw InputError("doc: expected the options in columns A, B, ..., as in VLMEvalKit's table, found none");
  }
  check_letter(doc, options);
}

}  // namespace

Benchmark vlmevalkit_choice_reading_form(Benchmark base, void (*adopt)(Json& record)) {
  base.prompt = vlmevalkit_choice_prompt;
  base.read = vlmevalkit_choice_reading;
  base.judge = {vlmevalkit_choice_question, vlmevalkit_choice_judged};
  base.columns = {"index", "question", "hint",     "A",           "B",    "C",
                  "D",     "answer",   "category", "l2-category", "image"};
  base.options = Options::kColumns;
  base.adopt = adopt;
  base.check = check_columns;
  base.max_new_tokens = kVlmEvalKitTokens;
  base.has_policy = false;
  base.scores_any_options = false;
  base.variants.clear();
  base.profiles = {Profile::kVlmEvalKit};
  return base;
}

Benchmark vlmevalkit_choice_form(Benchmark base, void (*adopt)(Json& record)) {
  Benchmark form = vlmevalkit_choice_reading_form(std::move(base), adopt);
  form.headline = Json::json_pointer("/overall");
  form.headline_scale = 100;
  form.tally = [](const Rules&) -> std::unique_ptr<Tally> { return std::make_unique<ChoiceTally>(); };
  form.units = {};
  return form;
}

namespace {

Reading yes_or_no(const Json& doc, const std::string& text) {
  const std::string said = vlmevalkit_yes_no(from_utf8(text));
  const bool known = said != "Unknown";
  const bool right = known && lower(from_utf8(said)) == strip(lower(doc_text(doc, "answer")));
  return {said, std::nullopt, right ? 1.0 : 0.0, !known, !known};
}

Reading yes_no_reading(const Json& doc, const std::string& output, const Rules&) {
  return yes_or_no(doc, output);
}

Reading yes_no_judged(const Json& doc, const std::string&, const std::string& reply, const Rules&) {
  return yes_or_no(doc, reply);
}

std::string yes_no_question(const Json& doc, const std::string& output, const Rules&) {
  return "A model was asked a question that is answered by yes or no. Say which of the two its answer means.\n\n"
         "Question: " +
         to_utf8(doc_text(doc, "question")) + "\n\nThe model's answer:\n" + output +
         "\n\nReply with one word: Yes, No, or Unknown if it means neither.";
}

}  // namespace

Benchmark vlmevalkit_yes_no_form(Benchmark base) {
  base.prompt = vlmevalkit_bare_prompt;
  base.read = yes_no_reading;
  base.judge = {yes_no_question, yes_no_judged};
  base.max_new_tokens = kVlmEvalKitTokens;
  base.variants.clear();
  base.profiles = {Profile::kVlmEvalKit};
  return base;
}

Benchmark with_vlmevalkit(Benchmark base, Benchmark form) {
  form.variants.clear();
  form.profiles = {Profile::kVlmEvalKit};
  base.variants[Profile::kVlmEvalKit] = std::make_shared<const Benchmark>(std::move(form));
  return base;
}

Json vlmevalkit_short_prompt(const Json& doc, const Rules&) {
  return to_utf8(doc_text(doc, "question") + U"\n" + Text(kShortAnswerRequest));
}

Json vlmevalkit_bare_prompt(const Json& doc, const Rules&) { return to_utf8(doc_text(doc, "question")); }

void options_into_columns(Json& record, const char* column, bool index) {
  if (!record.contains(column) || !option_columns(record).empty()) return;
  const std::vector<Text> texts = doc_list(record, column);
  constexpr size_t kMostOptions = 26;
  if (texts.size() > kMostOptions) {
    throw InputError("doc: \"{}\": expected {} options or fewer, found {}", column, kMostOptions,
                     texts.size());
  }
  if (index) {
    const char32_t letter = letter_of(doc_integer(record, "answer"), texts.size(), "answer");
    record["answer"] = to_utf8(Text{letter});
  }
  for (const Option& option : lettered(texts)) record[to_utf8(Text{option.letter})] = to_utf8(option.text);
  record.erase(column);
}

void ChoiceTally::add(const Json& doc, const Reading& reading) {
  overall_.add(reading.score);
  const auto count = [&](const char* column, Means& means) {
    if (const auto cell = doc_cell(doc, column)) means[to_utf8(*cell)].add(reading.score);
  };
  count("split", splits_);
  count("category", categories_);
  count(doc.contains("l2_category") ? "l2_category" : "l2-category", l2_categories_);
}

Json ChoiceTally::aggregates() const {
  return {{"overall", overall_.json()},
          {"split", json_of(splits_)},
          {"category", json_of(categories_)},
          {"l2_category", json_of(l2_categories_)}};
}

}  // namespace ropescope::eval
