#include "ropescope/core/errors.h"
#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/edit_distance.h"
#include "ropescope/eval/vlmevalkit_forms.h"

namespace ropescope::eval {

namespace docvqa_rules {
namespace {

Json prompt(const Json& doc, const Rules&) {
  return to_utf8(doc_text(doc, "question") + U"\n" + Text(kShortAnswerRequest));
}

Reading read(const Json& doc, const std::string& output, const Rules&) {
  return {nullptr, std::nullopt, anls(strip(from_utf8(output)), doc_list(doc, "answers"))};
}

/// The same, of the output as it is: blanks at its ends count in the length.
Reading vlmevalkit_read(const Json& doc, const std::string& output, const Rules&) {
  return {nullptr, std::nullopt, anls(from_utf8(output), doc_list(doc, "answers"))};
}

void check(const Json& doc) {
  if (doc_list(doc, "answers").empty()) throw InputError("doc: \"answers\": expected an answer, found none");
}

std::unique_ptr<Tally> tally(const Rules&) { return std::make_unique<MeanTally>("anls"); }

}  // namespace
}  // namespace docvqa_rules

Benchmark docvqa() {
  using namespace docvqa_rules;
  Benchmark benchmark = {
      "docvqa",
      "Scanned documents; answers are compared by edit distance (ANLS). InfographicVQA has the same form.",
      "DocVQA, validation split (docvqa_val): 5349 questions",
      {"questionId", "question", "answers", "image"},
      32,
      Json::json_pointer("/anls"),
      100,
      prompt,
      read,
      tally,
      {},
      Options::kNone,
      adopt_answer_list,
      check};
  Benchmark form = benchmark;
  form.read = vlmevalkit_read;
  form.max_new_tokens = kVlmEvalKitTokens;
  return with_vlmevalkit(benchmark, std::move(form));
}

}  // namespace ropescope::eval
