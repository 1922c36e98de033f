#include <algorithm>
#include <cmath>

#include "ropescope/core/errors.h"
#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/vlmevalkit_forms.h"

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

constexpr const char *kHuman = "human_test", *kAugmented = "augmented_test";

/// A Python list of strings, as VLMEvalKit writes answers. The data's own answers can be lists too, "[23, 32]", and
/// are compared as they stand.
bool is_quoted_list(const std::string& text) {
  if (text.size() < 4 || text.front() != '[' || text.back() != ']') return false;
  const char quote = text[1];
  return (quote == '\'' || quote == '"') && text[text.size() - 2] == quote;
}

/// VLMEvalKit's table: the part as `split`.
void adopt_part(Json& record) {
  adopt_column(record, "split", "type");
  if (const auto type = record.find("type"); type != record.end() && type->is_string()) {
    if (*type == "test_human") *type = kHuman;
    if (*type == "test_augmented") *type = kAugmented;
  }
}

/// The same, with the answer as a list of one.
void adopt(Json& record) {
  adopt_part(record);
  const auto answer = record.find("answer");
  if (answer == record.end()) return;
  const bool list = answer->is_array() || (answer->is_string() && is_quoted_list(answer->get<std::string>()));
  if (!list) return;
  const std::vector<Text> texts = doc_list(record, "answer");
  if (texts.size() != 1) {
    throw InputError("doc: \"answer\": expected one answer, found a list of {}", texts.size());
  }
  *answer = to_utf8(texts.front());
}

/// The best of the answers, where there are several.
Reading vlmevalkit_read(const Json& doc, const std::string& output, const Rules&) {
  const Text text = from_utf8(output);
  const Json& answer = doc.contains("answer") ? doc["answer"] : Json();
  const bool list =
      answer.is_array() || (answer.is_string() && answer.get<std::string>().rfind('[', 0) == 0 &&
                            parse_string_list(doc_text(doc, "answer")));
  bool right = false;
  for (const Text& one : list ? doc_list(doc, "answer") : std::vector<Text>{doc_text(doc, "answer")}) {
    right = right || relaxed_match(strip(text), one);
  }
  return {nullptr, std::nullopt, right ? 1.0 : 0.0};
}

void check(const Json& doc) {
  const std::string type = doc_key(doc, "type");
  if (type == kHuman || type == kAugmented) return;
  throw InputError("doc: \"type\": expected {} or {}, found \"{}\"", kHuman, kAugmented, type);
}

class ChartqaTally : public Tally {
 public:
  void add(const Json& doc, const Reading& reading) override {
    overall_.add(reading.score);
    (doc_key(doc, "type") == kHuman ? human_ : augmented_).add(reading.score);
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
  Benchmark benchmark = {"chartqa",
                         "Charts; numbers may be off by 5 %.",
                         "ChartQA, test split: 2500 questions",
                         {"question", "answer", "type", "image"},
                         16,
                         Json::json_pointer("/relaxed_overall"),
                         100,
                         prompt,
                         read,
                         tally,
                         {},
                         Options::kNone,
                         adopt,
                         check};
  Benchmark form = benchmark;
  form.prompt = vlmevalkit_short_prompt;
  form.read = vlmevalkit_read;
  form.adopt = adopt_part;
  form.max_new_tokens = kVlmEvalKitTokens;
  return with_vlmevalkit(benchmark, std::move(form));
}

}  // namespace ropescope::eval
