#include <algorithm>
#include <array>

#include "ropescope/core/errors.h"
#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/bracketed_options.h"
#include "ropescope/eval/vlmevalkit_forms.h"

namespace ropescope::eval {

namespace vstar_rules {
namespace {

constexpr TextView kLetters = U"ABCD";

bool is_choice(char32_t c) { return contains(kLetters, TextView(&c, 1)); }

/// The data's text has its options behind the question, and the request behind the last option, to which it then belongs.
Json prompt(const Json& doc, const Rules&) {
  Text question = doc_text(doc, "text");
  std::vector<Text> texts = bracketed_options(question, {kLetters, /*closing_ends=*/true});
  if (!texts.empty()) {
    texts.resize(std::min(texts.size(), kLetters.size()));
    const Text before(strip(TextView(question).substr(0, question.find(U"(A)"))));
    question = before + U"\n" + option_lines(lettered(texts));
  }
  return to_utf8(question + U"\n" + Text(kLetterRequest));
}

/// "ANSWER", "CHOICE" or "OPTION", perhaps "IS", then blanks or colons, then a letter, be it the first of a word.
std::optional<char32_t> behind_a_word(TextView text) {
  const auto letter_at = [&](size_t at) -> std::optional<char32_t> {
    const size_t begin = at;
    while (at < text.size() && (is_space(text[at]) || text[at] == U':')) ++at;
    if (at == begin || at == text.size() || !is_choice(text[at])) return std::nullopt;
    return text[at];
  };
  for (size_t begin = 0; begin < text.size(); ++begin) {
    for (const TextView word : {TextView(U"ANSWER"), TextView(U"CHOICE"), TextView(U"OPTION")}) {
      if (text.compare(begin, word.size(), word) != 0) continue;
      const size_t behind = begin + word.size(), is = past_blanks(text, behind);
      if (is > behind && text.compare(is, 2, U"IS") == 0) {
        if (const auto letter = letter_at(is + 2)) return letter;
      }
      if (const auto letter = letter_at(behind)) return letter;
    }
  }
  return std::nullopt;
}

template <typename Stands>  // whether the letter at a place counts
std::optional<char32_t> first_letter(TextView text, Stands&& stands) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (is_choice(text[i]) && stands(i)) return text[i];
  }
  return std::nullopt;
}

/// Five forms in turn, the first letter of any word at the beginning among them ("because" says B), then the only letter.
std::optional<char32_t> letter_in(TextView output) {
  const Text raised = upper(strip(output));
  const TextView text = raised;
  if (!text.empty() && is_choice(text[0])) return text[0];
  if (const auto letter = behind_a_word(text)) return letter;
  const auto is = [&](size_t at, char32_t c) { return at < text.size() && text[at] == c; };
  if (const auto letter =
          first_letter(text, [&](size_t i) { return i > 0 && is(i - 1, U'(') && is(i + 1, U')'); })) {
    return letter;
  }
  const auto closed = [&](size_t i) {
    const size_t at = past_blanks(text, i + 1);
    return is(at, U'.') || is(at, U')') || is(at, U']');
  };
  if (const auto letter = first_letter(text, closed)) return letter;
  const auto alone = [&](size_t i) {
    return (i == 0 || is_space(text[i - 1])) && (i + 1 == text.size() || is_space(text[i + 1]));
  };
  if (const auto letter = first_letter(text, alone)) return letter;
  const auto only = first_letter(text, [](size_t) { return true; });
  const auto count = std::count_if(text.begin(), text.end(), is_choice);
  return count == 1 ? only : std::nullopt;
}

Reading read(const Json& doc, const std::string& output, const Rules&) {
  const auto letter = letter_in(from_utf8(output));
  const bool right = letter && Text{*letter} == upper(strip(doc_text(doc, "label")));
  return letter_reading(letter, right);
}

constexpr std::array<const char*, 2> kCategories = {"direct_attributes", "relative_position"};

/// VLMEvalKit's table: options in columns, which stand behind the question as in the data, and `answer` for the label.
void adopt(Json& record) {
  const std::vector<Option> options = option_columns(record);
  if (record.contains("text") || options.empty()) return;
  Text text = doc_text(record, "question");
  for (const Option& option : options) text += U"\n(" + Text{option.letter} + U") " + option.text;
  record["text"] = to_utf8(text + U"\n" + Text(kLetterRequest));
  adopt_column(record, "answer", "label");
  for (const char* column : {"question", "answer"}) record.erase(column);
  drop_option_columns(record);
}

void check(const Json& doc) {
  const Text label = upper(strip(doc_text(doc, "label")));
  if (label.size() != 1 || !is_choice(label[0])) {
    throw InputError("doc: \"label\": expected the letter of an option (A to D), found \"{}\"",
                     to_utf8(label));
  }
  const std::string category = doc_key(doc, "category");
  if (std::count(kCategories.begin(), kCategories.end(), category) == 0) {
    throw InputError("doc: \"category\": expected {} or {}, found \"{}\"", kCategories[0], kCategories[1],
                     category);
  }
}

/// The harness's own names are in percent, as it prints them.
class VstarTally : public Tally {
 public:
  void add(const Json& doc, const Reading& reading) override {
    overall_.add(reading.score);
    categories_["vstar_" + doc_key(doc, "category") + "_acc"].add(100 * reading.score);
  }
  Json aggregates() const override {
    Json object = json_of(categories_);
    object["accuracy"] = overall_.json();
    object["vstar_overall_acc"] = overall_.count() == 0 ? Json(nullptr) : Json(100 * overall_.value());
    return object;
  }

 private:
  Mean overall_;
  Means categories_;
};

std::unique_ptr<Tally> tally(const Rules&) { return std::make_unique<VstarTally>(); }
std::string part(const Json& doc) { return doc_key(doc, "category"); }

}  // namespace
}  // namespace vstar_rules

Benchmark vstar() {
  using namespace vstar_rules;
  Benchmark benchmark = {"vstar",
                         "Small things in large pictures: their attributes, and where they lie.",
                         "V* (vstar_bench): 191 questions",
                         {"question_id", "text", "label", "category", "image"},
                         16,
                         Json::json_pointer("/accuracy"),
                         100,
                         prompt,
                         read,
                         tally,
                         {nullptr, nullptr, nullptr, part},
                         Options::kInQuestion,
                         adopt,
                         check};
  benchmark.other_names = {"vstar_bench", "VStarBench"};
  return with_vlmevalkit(benchmark, vlmevalkit_choice_form(benchmark, nullptr));
}

}  // namespace ropescope::eval
