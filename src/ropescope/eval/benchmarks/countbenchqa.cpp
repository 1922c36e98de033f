#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/vlmevalkit_forms.h"

namespace ropescope::eval {

namespace countbenchqa_rules {
namespace {

Json prompt(const Json& doc, const Rules&) {
  Text text = doc_text(doc, "question");
  if (const auto caption = doc_cell(doc, "text")) text = *caption + U"\n\n" + text;
  return to_utf8(text + U"\nAnswer with a single number.");
}

bool has_digit(TextView text) {
  for (const char32_t c : text) {
    if (is_digit(c)) return true;
  }
  return false;
}

/// The number and nothing else, as it is written in the data.
Reading read(const Json& doc, const std::string& output, const Rules&) {
  const Text text = from_utf8(output);
  return {nullptr, std::nullopt, strip(text) == doc_text(doc, "number") ? 1.0 : 0.0, !has_digit(text)};
}

Json table_prompt(const Json& doc, const Rules&) {
  return to_utf8(doc_text(doc, "question") +
                 U" Note that: answer with a number directly e.g. 3. Do not include any additional text.");
}

/// VLMEvalKit: the number anywhere, be it part of another ("12" has a 1 and a 2).
Reading table_read(const Json& doc, const std::string& output, const Rules&) {
  const Text text = from_utf8(output);
  return {nullptr, std::nullopt, contains(text, doc_text(doc, "answer")) ? 1.0 : 0.0, !has_digit(text)};
}

void adopt(Json& record) { adopt_column(record, "answer", "number"); }
void adopt_table(Json& record) { adopt_column(record, "number", "answer"); }
void check(const Json& doc) { doc_integer(doc, "number"); }
void check_table(const Json& doc) { doc_integer(doc, "answer"); }

std::unique_ptr<Tally> tally(const Rules&) { return std::make_unique<MeanTally>("acc"); }

}  // namespace
}  // namespace countbenchqa_rules

Benchmark countbenchqa() {
  using namespace countbenchqa_rules;
  Benchmark benchmark = {"countbenchqa",
                         "How many are there? a number.",
                         "CountBenchQA, test split: 491 questions",
                         {"question", "number", "text", "image"},
                         32,
                         Json::json_pointer("/acc"),
                         100,
                         prompt,
                         read,
                         tally,
                         {},
                         Options::kNone,
                         adopt,
                         check};
  benchmark.profiles = {Profile::kCurrent};
  benchmark.other_names = {"CountBenchQA"};
  Benchmark form = benchmark;
  form.columns = {"index", "question", "answer", "image"};
  form.prompt = table_prompt;
  form.read = table_read;
  form.adopt = adopt_table;
  form.check = check_table;
  form.max_new_tokens = kVlmEvalKitTokens;
  return with_vlmevalkit(benchmark, std::move(form));
}

}  // namespace ropescope::eval
