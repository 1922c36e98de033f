#include <algorithm>

#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/vlmevalkit_forms.h"

namespace ropescope::eval {

namespace mmstar_rules {
namespace {

Json prompt(const Json& doc, const Rules&) {
  const Text question = replace_all(strip(doc_text(doc, "question")), U" Please answer yes or no.", U"");
  // (this one closing string has no full stop)
  return to_utf8(question + U"\n" + Text(kLetterRequest.substr(0, kLetterRequest.size() - 1)));
}

/// The first letter of four forms of an answer; "A dog" counts as A.
bool right_by_first_letter(TextView output, TextView answer) {
  const Text text(strip(replace_all(lower(output), U"\n", U" ")));
  const Text gold = lower(answer);
  const auto letter_after = [&](TextView start) {
    return text.compare(0, start.size(), start) == 0 && text.size() > start.size() &&
           Text{text[start.size()]} == gold;
  };
  return letter_after(U"") || letter_after(U"(") || letter_after(U"option ") ||
         letter_after(U"the answer is ");
}

constexpr TextView kLetters = U"ABCD";

Reading read(const Json& doc, const std::string& output, const Rules& rules) {
  const Text text(strip(from_utf8(output)));
  const Text answer = doc_text(doc, "answer");
  if (rules.profile == Profile::kPaper) {
    const bool any = std::any_of(kLetters.begin(), kLetters.end(),
                                 [&](char32_t letter) { return right_by_first_letter(text, Text{letter}); });
    return {nullptr, std::nullopt, right_by_first_letter(text, answer) ? 1.0 : 0.0, !any};
  }
  const auto letter = extract_choice(text, kLetters);
  return letter_reading(letter, letter && Text{*letter} == answer);
}

/// As the data set writes them behind the question.
Text options_text(const std::vector<Option>& options) {
  std::vector<Text> parts;
  for (const Option& option : options) parts.push_back(Text{option.letter} + U": " + option.text);
  return U"\nOptions: " + join(parts, U", ");
}
void adopt(Json& record) { adopt_options_into_question(record, options_text); }
void check(const Json& doc) { check_letter(doc, lettered(std::vector<Text>(kLetters.size()))); }

class MmstarTally : public Tally {
 public:
  void add(const Json& doc, const Reading& reading) override {
    const std::string l2_category = doc_key(doc, "l2_category");
    categories_[doc_key(doc, "category")][l2_category].add(reading.score);
    l2_categories_[l2_category].add(reading.score);
  }

  Json aggregates() const override {
    Json object = Json::object();
    for (const auto& [category, means] : categories_) object[category] = mean_of(means);
    object["average"] = l2_categories_.empty() ? Json(nullptr) : Json(mean_of(l2_categories_));
    return object;
  }

 private:
  std::map<std::string, Means> categories_;
  Means l2_categories_;
};

std::unique_ptr<Tally> tally(const Rules&) { return std::make_unique<MmstarTally>(); }

Unit unit(const Json& doc, const std::string& item) { return {doc_key(doc, "l2_category"), item}; }

}  // namespace
}  // namespace mmstar_rules

Benchmark mmstar() {
  using namespace mmstar_rules;
  Benchmark benchmark = {"mmstar",
                         "Questions that cannot be answered without the picture, multiple choice.",
                         "MMStar: 1500 questions",
                         {"index", "question", "answer", "category", "l2_category", "image"},
                         1024,
                         Json::json_pointer("/average"),
                         100,
                         prompt,
                         read,
                         tally,
                         {unit, nullptr, nullptr},
                         Options::kInQuestion,
                         adopt,
                         check};
  return with_vlmevalkit(benchmark, vlmevalkit_choice_form(benchmark, nullptr));
}

}  // namespace ropescope::eval
