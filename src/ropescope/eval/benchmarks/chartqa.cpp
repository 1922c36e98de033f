#include <cmath>

#include "ropescope/eval/benchmarks/registry.h"

namespace ropescope::eval {

namespace chartqa_rules {
namespace {

constexpr double kTolerance = 0.05;

Json prompt(const Json& doc, const Rules&) {
  return to_utf8(doc_text(doc, "question") + U"\nAnswer the question with a single word.");
}

/// A number, or a percentage as a fraction.
std::optional<double> number_in(TextView text) {
  if (text.empty() || text.back() != U'%') return parse_float(text);
  while (!text.empty() && text.back() == U'%') text.remove_suffix(1);
  const auto percent = parse_float(text);
  return percent ? std::optional<double>(*percent / 100) : std::nullopt;
}

/// Within 5 % of a number other than 0, else equal after lowering.
bool relaxed_match(TextView output, TextView answer) {
  const auto number = number_in(output), gold = number_in(answer);
  if (number && gold && *gold != 0) return std::abs(*number - *gold) / std::abs(*gold) <= kTolerance;
  return lower(output) == lower(answer);
}

Reading read(const Json& doc, const std::string& output, const Rules&) {
  const Text text = from_utf8(output);
  return {nullptr, std::nullopt, relaxed_match(strip(text), doc_text(doc, "answer")) ? 1.0 : 0.0};
}

class ChartqaTally : public Tally {
 public:
  void add(const Json& doc, const Reading& reading) override {
    overall_.add(reading.score);
    (doc_text(doc, "type") == U"human_test" ? human_ : augmented_).add(reading.score);
  }

  Json aggregates() const override {
    return {{"relaxed_overall", overall_.json()},
            {"relaxed_human_split", human_.json()},
            {"relaxed_augmented_split", augmented_.json()}};
  }

 private:
  Mean overall_, human_, augmented_;
};

std::unique_ptr<Tally> tally(const Rules&) { return std::make_unique<ChartqaTally>(); }

}  // namespace
}  // namespace chartqa_rules

Benchmark chartqa() {
  using namespace chartqa_rules;
  return {"chartqa",
          "Charts; numbers may be off by 5 %.",
          "ChartQA, test split: 2500 questions",
          {"question", "answer", "type", "image"},
          16,
          Json::json_pointer("/relaxed_overall"),
          100,
          prompt,
          read,
          tally};
}

}  // namespace ropescope::eval
