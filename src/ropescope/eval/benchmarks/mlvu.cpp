#include <algorithm>
#include <array>

#include "ropescope/core/errors.h"
#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/video_rules.h"

namespace ropescope::eval {

namespace mlvu_rules {
namespace {

constexpr TextView kLetters = U"ABCD";
constexpr std::array<const char*, 7> kTasks = {"anomaly_reco", "count",          "ego", "needle", "order",
                                               "plotQA",       "topic_reasoning"};

Json prompt(const Json& doc, const Rules&) {
  return to_utf8(doc_text(doc, "question") + U"\nOnly give the best option.\nBest option: (");
}

/// What stands before the first closing bracket, one character, else the whole answer. (Before a bracket in front the harness
/// takes nothing.)
Text before_bracket(TextView text) {
  const size_t bracket = text.find(U')');
  if (bracket == TextView::npos) return Text(text);
  return bracket == 0 ? Text() : Text(text.substr(bracket - 1, 1));
}

Reading read(const Json& doc, const std::string& output, const Rules& rules) {
  const Text text(strip(from_utf8(output)));
  const Text answer = doc_text(doc, "answer");
  if (rules.profile == Profile::kPaper) {
    const Text said = before_bracket(text);
    const bool letter = said.size() == 1 && contains(kLetters, said);
    return {to_utf8(said), std::nullopt, said == answer ? 1.0 : 0.0, !letter};
  }
  const auto letter = extract_choice(text, kLetters);
  return letter_reading(letter, letter && Text{*letter} == answer);
}

std::string task_of(const Json& doc) {
  const std::string task = doc_key(doc, "task_type");
  if (std::find(kTasks.begin(), kTasks.end(), task) == kTasks.end()) {
    std::string names;
    for (const char* known : kTasks) names += (names.empty() ? "" : ", ") + std::string(known);
    throw InputError("doc: \"task_type\": expected one of {}, found \"{}\"", names, task);
  }
  return task;
}

void check(const Json& doc) {
  check_letter(doc, lettered(std::vector<Text>(kLetters.size())));
  task_of(doc);
}

/// M-Avg: the mean of the tasks' means. (The harness counts a task without questions as 0; here it does not count.)
class MlvuTally : public Tally {
 public:
  void add(const Json& doc, const Reading& reading) override { tasks_[task_of(doc)].add(reading.score); }

  Json aggregates() const override {
    return {{"mlvu_perception_score", tasks_.empty() ? Json(nullptr) : Json(mean_of(tasks_))},
            {"tasks", json_of(tasks_)}};
  }

 private:
  Means tasks_;
};

std::unique_ptr<Tally> tally(const Rules&) { return std::make_unique<MlvuTally>(); }

Unit unit(const Json& doc, const std::string& item) {
  const std::string task = task_of(doc);
  return {task, task + "/" + clip_name(doc, item)};
}

}  // namespace
}  // namespace mlvu_rules

Benchmark mlvu() {
  using namespace mlvu_rules;
  Benchmark benchmark = {"mlvu",
                         "Seven tasks on long clips, multiple choice (M-Avg).",
                         "MLVU, dev, multiple choice (mlvu_dev)",
                         {"video_name", "question", "answer", "task_type"},
                         16,
                         Json::json_pointer("/mlvu_perception_score"),
                         100,
                         prompt,
                         read,
                         tally,
                         {unit, unit_mean, nullptr, task_of},
                         Options::kInQuestion,
                         nullptr,
                         check};
  benchmark.units.weigh_items = true;
  benchmark.about_clips = true;
  return benchmark;
}

}  // namespace ropescope::eval
