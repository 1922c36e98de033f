#include "ropescope/eval/option_columns.h"

#include <algorithm>
#include <utility>

#include "ropescope/core/errors.h"
#include "ropescope/eval/doc.h"

namespace ropescope::eval {

namespace {

constexpr char kFirstLetter = 'A', kLastLetter = 'Z';

std::string column_of_letter(char32_t letter) { return {static_cast<char>(letter)}; }

bool is_letter_answer(TextView answer) {
  return answer.size() == 1 && answer[0] >= U'A' && answer[0] <= U'Z';
}

/// The answer without blanks; empty if there is none.
Text answer_of(const Json& doc) { return Text(strip(doc_cell(doc, "answer").value_or(U""))); }

/// "C." or "C:" or "C)" as a word of its own.
bool names_option(TextView question, char32_t letter) {
  for (size_t i = 0; i + 1 < question.size(); ++i) {
    if (question[i] == letter && contains(U".:)", Text{question[i + 1]}) && is_word_boundary(question, i)) {
      return true;
    }
  }
  return false;
}

}  // namespace

std::vector<Option> option_columns(const Json& record) {
  std::vector<Option> options;
  for (char letter = kFirstLetter; letter <= kLastLetter; ++letter) {
    const std::string column(1, letter);
    if (auto text = doc_cell(record, column.c_str())) {
      options.push_back({static_cast<char32_t>(letter), std::move(*text)});
    }
  }
  return options;
}

void drop_option_columns(Json& record) {
  for (char letter = kFirstLetter; letter <= kLastLetter; ++letter) record.erase(std::string(1, letter));
}

void adopt_option_list(Json& record, const char* column, bool index) {
  if (record.contains(column)) return;
  const std::vector<Option> options = option_columns(record);
  if (options.empty()) return;
  Json list = Json::array();
  for (const Option& option : options) {
    const auto expected = static_cast<char32_t>(U'A' + list.size());
    if (option.letter != expected) {
      throw InputError("doc: the option {} is empty, and there is one {}", column_of_letter(expected),
                       column_of_letter(option.letter));
    }
    list.push_back(to_utf8(option.text));
  }
  const Text answer = answer_of(record);
  if (index && is_letter_answer(answer)) {
    check_letter(record, options);
    record["answer"] = static_cast<int64_t>(answer[0] - U'A');
  }
  record[column] = std::move(list);
  drop_option_columns(record);
}

void adopt_options_into_question(Json& record, Text (*text)(const std::vector<Option>& options)) {
  const std::vector<Option> options = option_columns(record);
  if (options.empty()) return;
  const Text question = doc_text(record, "question");
  if (const Text answer = answer_of(record); is_letter_answer(answer)) {
    check_letter(record, options);
    if (names_option(question, answer[0])) return drop_option_columns(record);
  }
  record["question"] = to_utf8(Text(strip(question)) + text(options));
  drop_option_columns(record);
}

void adopt_answer_list(Json& record) {
  if (!record.contains("answers")) {
    if (!record.contains("answer")) return;
    const Json& answer = record["answer"];
    if (!answer.is_array() && !(answer.is_string() && answer.get<std::string>().rfind('[', 0) == 0)) return;
    record["answers"] = answer;
    record.erase("answer");
  }
  Json& answers = record["answers"];
  if (!answers.is_string()) return;
  const auto texts = parse_string_list(from_utf8(answers.get<std::string>()));
  if (!texts) return;  // (what reads the column says what is wrong)
  answers = Json::array();
  for (const Text& text : *texts) answers.push_back(to_utf8(text));
}

void adopt_json_list(Json& record, const char* column) {
  const auto cell = record.find(column);
  if (cell == record.end() || !cell->is_string()) return;
  Json list = Json::parse(cell->get<std::string>(), nullptr, /*allow_exceptions=*/false);
  if (list.is_array()) *cell = std::move(list);
}

void adopt_column(Json& record, const char* from, const char* to) {
  if (!record.contains(from) || record.contains(to)) return;
  record[to] = record[from];
}

std::string letters_text(const std::vector<Option>& options) {
  std::string list;
  for (const Option& option : options) list += (list.empty() ? "" : ", ") + to_utf8(Text{option.letter});
  return list;
}

void check_letter(const Json& doc, const std::vector<Option>& options) {
  const Text answer = doc_text(doc, "answer");
  const bool known = std::any_of(options.begin(), options.end(),
                                 [&](const Option& option) { return Text{option.letter} == answer; });
  if (known) return;
  if (options.size() < 2) {
    throw InputError("doc: expected two options or more, found {}", options.size());
  }
  throw InputError("doc: \"answer\": expected the letter of an option ({}), found \"{}\"",
                   letters_text(options), to_utf8(answer));
}

void check_yes_or_no(const Json& doc) {
  const Text answer = doc_text(doc, "answer"), plain = Text(strip(lower(answer)));
  if (plain == U"yes" || plain == U"no") return;
  throw InputError("doc: \"answer\": expected yes or no, found \"{}\"", to_utf8(answer));
}

void check_options_in_question(const Json& doc) {
  const Text answer = answer_of(doc);
  if (!is_letter_answer(answer) || names_option(doc_text(doc, "question"), answer[0])) return;
  throw InputError("doc: the answer is the letter {}, and the record has no such option", to_utf8(answer));
}

void check_no_options(const Json& record, const std::string& benchmark) {
  std::string found;
  if (const auto options = option_columns(record); options.size() > 1) found = letters_text(options);
  for (const char* column : {"options", "choices"}) {
    const auto list = record.find(column);
    if (list != record.end() && (list->is_array() ? !list->empty() : list->is_string())) found = column;
  }
  if (found.empty()) return;
  throw InputError("doc: the record has options ({}), and {} asks without any; is it another benchmark's?",
                   found, benchmark);
}

}  // namespace ropescope::eval
