#include <algorithm>

#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/vlmevalkit.h"
#include "ropescope/eval/vlmevalkit_forms.h"

namespace ropescope::eval {

namespace hrbench_rules {
namespace {

Json prompt(const Json& doc, const Rules&) {
  Text text = Text(strip(doc_text(doc, "question"))) + U"\n";
  for (const Option& option : option_columns(doc)) text += option_lines({option}) + U"\n";
  return to_utf8(text + U"Answer the option letter directly.");
}

/// lmms-eval has VLMEvalKit's rule as it was in May 2025.
Reading reading_of(const Json& doc, TextView text) {
  const auto letter = vlmevalkit_choice(text, option_columns(doc), VlmEvalKitDate::kMay2025);
  const bool right = letter && lower(Text{*letter}) == lower(doc_text(doc, "answer"));
  return vlmevalkit_letter_reading(letter, right);
}

Reading read(const Json& doc, const std::string& output, const Rules&) {
  return reading_of(doc, strip(from_utf8(output)));
}
Reading judged(const Json& doc, const std::string&, const std::string& reply, const Rules&) {
  return reading_of(doc, strip(from_utf8(reply)));
}

void check(const Json& doc) {
  check_letter(doc, option_columns(doc));
  doc_key(doc, "category");
  doc_key(doc, "cycle_category");
}

/// Every question is asked under each rotation of its options (`cycle_category`): the figure is the mean over the
/// rotations of their means.
class HrbenchTally : public Tally {
 public:
  explicit HrbenchTally(bool all_cycles) : all_cycles_(all_cycles) {}

  void add(const Json& doc, const Reading& reading) override {
    const std::string cycle = doc_key(doc, "cycle_category");
    all_[cycle].add(reading.score);
    categories_[doc_key(doc, "category")][cycle].add(reading.score);
  }

  Json aggregates() const override {
    Json object = {{"average", all_.empty() ? Json(nullptr) : Json(mean_of(all_))},
                   {"by_cycle", json_of(all_)}};
    for (const auto& [category, cycles] : categories_) {
      const size_t count = all_cycles_ ? all_.size() : cycles.size();
      object[category] = mean_of(cycles) * static_cast<double>(cycles.size()) / static_cast<double>(count);
    }
    return object;
  }

 private:
  /// A category's sum is divided by all rotations, those without a question of it too.
  bool all_cycles_;
  Means all_;
  std::map<std::string, Means> categories_;
};

std::unique_ptr<Tally> tally(const Rules&) { return std::make_unique<HrbenchTally>(false); }
std::unique_ptr<Tally> vlmevalkit_tally(const Rules&) { return std::make_unique<HrbenchTally>(true); }

/// The rotations of a question, which have its text and the same options in another order, are one unit. (Questions of
/// different pictures that are alike in both become one too: fewer units, a wider interval.)
Unit unit(const Json& doc, const std::string&) {
  std::vector<Text> texts;
  for (Option& option : option_columns(doc)) texts.push_back(std::move(option.text));
  std::sort(texts.begin(), texts.end());
  return {"", to_utf8(doc_text(doc, "question") + U"\n" + join(texts, U"\n"))};
}
double times(const Json&) { return 1; }
std::string part(const Json& doc) { return doc_key(doc, "category"); }

Benchmark hrbench(const std::string& size) {
  Benchmark benchmark = {
      "hrbench_" + size + "k",
      "Pictures of " + size + "K, questions on one object and across several, each under four rotations.",
      "HR-Bench " + size + "K (hrbench" + size + "k): 800 rows, 200 questions",
      {"index", "question", "A", "B", "C", "D", "answer", "category", "cycle_category", "image"},
      1024,
      Json::json_pointer("/average"),
      100,
      prompt,
      read,
      tally,
      {unit, nullptr, nullptr, part, times},
      Options::kColumns,
      nullptr,
      check};
  benchmark.judge = {vlmevalkit_choice_question, judged};
  benchmark.other_names = {"hrbench" + size + "k", "HRBench" + size + "K"};
  Benchmark form = vlmevalkit_choice_reading_form(benchmark, nullptr);
  form.columns = benchmark.columns;
  form.check = check;
  form.tally = vlmevalkit_tally;
  return with_vlmevalkit(benchmark, std::move(form));
}

}  // namespace
}  // namespace hrbench_rules

Benchmark hrbench_4k() { return hrbench_rules::hrbench("4"); }
Benchmark hrbench_8k() { return hrbench_rules::hrbench("8"); }

}  // namespace ropescope::eval
