#include <algorithm>

#include "ropescope/core/errors.h"
#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/circular_groups.h"
#include "ropescope/eval/vlmevalkit_forms.h"

namespace ropescope::eval {

namespace mmbench_rules {
namespace {

constexpr const char* kOptionColumns[] = {"A", "B", "C", "D", "E"};

Json prompt(const Json& doc, const Rules&) {
  Text text;
  if (const auto hint = doc_cell(doc, "hint")) text = *hint + U" ";
  text += doc_text(doc, "question") + U" There are several options:";
  for (const char* column : kOptionColumns) {
    if (const auto option = doc_cell(doc, column)) text += U"\n" + from_utf8(column) + U". " + *option;
  }
  return to_utf8(text + U"\n\n" + Text(kLetterRequest));
}

Reading read(const Json& doc, const std::string& output, const Rules& rules) {
  const Text text(strip(from_utf8(output)));
  std::optional<char32_t> letter = mmbench_option_rule(text);
  if (!letter) {
    std::vector<Option> options;
    for (const char32_t c : TextView(U"ABCD")) {
      // An absent option is the text "nan" in this data and takes part: "banana" names it too.
      options.push_back({c, doc_cell(doc, to_utf8(Text{c}).c_str()).value_or(U"nan")});
    }
    letter = mmbench_text_rule(text, options);
  }
  if (!letter && rules.policy == Policy::kStatic) letter = extract_choice(text, U"ABCD");
  const bool right = letter && Text{*letter} == doc_text(doc, "answer");
  return letter_reading(letter, right);
}

void check(const Json& doc) {
  std::vector<Option> options;
  for (const char* column : kOptionColumns) {
    if (auto option = doc_cell(doc, column)) options.push_back({from_utf8(column)[0], std::move(*option)});
  }
  check_letter(doc, options);
}

std::string short_name(const std::string& l2_category) {
  static const std::map<std::string, std::string> names = {
      {"coarse_perception", "CP"},
      {"finegrained_perception (instance-level)", "FP-S"},
      {"finegrained_perception (cross-instance)", "FP-C"},
      {"attribute_reasoning", "AR"},
      {"relation_reasoning", "RR"},
      {"logic_reasoning", "LR"},
  };
  const auto found = names.find(l2_category);
  return found == names.end() ? l2_category : found->second;
}

std::string l2_column(const Json& doc) {
  return to_utf8(doc_cell(doc, doc.contains("l2-category") ? "l2-category" : "L2-category").value_or(U""));
}
/// "CP", "FP-S" and so on.
std::string ability(const Json& doc) { return short_name(l2_column(doc)); }

class MmbenchTally : public Tally {
 public:
  void add(const Json& doc, const Reading& reading) override {
    const int64_t index = doc_integer(doc, "index");
    if (index < 0) throw InputError("doc: \"index\": expected 0 or more, found {}", index);
    groups_.add(index, reading.score == 1, to_utf8(doc_cell(doc, "category").value_or(U"")), l2_column(doc));
  }

  Json aggregates() const override {
    Mean overall;
    Means category, l2;
    Json hits = Json::object();
    for (const auto& [index, group] : groups_.groups()) {
      if (!group.has_main) continue;
      const double hit = group.all_right ? 1 : 0;
      overall.add(hit);
      if (!group.category.empty()) category[group.category].add(hit);
      if (!group.l2_category.empty()) l2[short_name(group.l2_category)].add(hit);
      hits[std::to_string(index)] = group.all_right ? 1 : 0;
    }
    return {{"overall", overall.json()},
            {"overall_percent", overall.count() == 0 ? Json(nullptr) : Json(100 * overall.value())},
            {"category", json_of(category)},
            {"l2", json_of(l2)},
            {"group_hit", hits}};
  }

 private:
  CircularGroups groups_;
};

std::unique_ptr<Tally> tally(const Rules&) { return std::make_unique<MmbenchTally>(); }

Unit unit(const Json& doc, const std::string&) {
  const int64_t index = doc_integer(doc, "index");
  return {"", std::to_string(index % kRotationStep), index < kRotationStep};
}
double all_right(const std::vector<double>& scores) {
  return *std::min_element(scores.begin(), scores.end());
}

}  // namespace
}  // namespace mmbench_rules

Benchmark mmbench() {
  using namespace mmbench_rules;
  const Benchmark benchmark = {
      "mmbench",
      "Perception and reasoning, multiple choice; a question counts if every rotation of it is right.",
      "MMBench_DEV_EN (mmbench_en_dev): 4329 rows, 1164 questions",
      {"index", "question", "hint", "A", "B", "C", "D", "E", "answer", "category", "L2-category", "image"},
      1024,
      Json::json_pointer("/overall"),
      100,
      prompt,
      read,
      tally,
      {unit, all_right, nullptr, ability},
      Options::kColumns,
      nullptr,
      check,
      nullptr,
      /*has_policy=*/true,
      /*scores_any_options=*/true};
  Benchmark form = vlmevalkit_choice_reading_form(benchmark, nullptr);
  form.columns = benchmark.columns;
  return with_vlmevalkit(benchmark, std::move(form));
}

}  // namespace ropescope::eval
