#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/vlmevalkit_forms.h"

namespace ropescope::eval {

namespace ai2d_rules {
namespace {

Json prompt(const Json& doc, const Rules&) {
  return to_utf8(doc_text(doc, "question") + U"\n" + option_lines(lettered(doc_list(doc, "options"))) +
                 U"\n" + Text(kLetterRequest));
}

/// ^\s*([A-Z])\. becomes its letter; everything else stays.
Text filtered(const Text& output) {
  const size_t at = past_blanks(output, 0);
  const bool letter =
      at + 1 < output.size() && output[at] >= U'A' && output[at] <= U'Z' && output[at + 1] == U'.';
  return letter ? Text{output[at]} : output;
}

Reading read(const Json& doc, const std::string& output, const Rules&) {
  // (the filter sees the raw output)
  const Text text(strip(filtered(from_utf8(output))));
  const char32_t letter = letter_of(doc_integer(doc, "answer"), doc_list(doc, "options").size(), "answer");
  const bool single = text.size() == 1 && is_letter(text[0]);
  return {to_utf8(text), std::nullopt, exact_match(text, Text{letter}) ? 1.0 : 0.0, !single};
}

/// VLMEvalKit's table: columns A, B, ... and the letter of the answer.
void adopt(Json& record) { adopt_option_list(record, "options", /*index=*/true); }

void adopt_table(Json& record) { options_into_columns(record, "options", /*index=*/true); }

}  // namespace
}  // namespace ai2d_rules

Benchmark ai2d() {
  using namespace ai2d_rules;
  Benchmark benchmark = exact_match_benchmark("ai2d", "Diagrams of school science, multiple choice.",
                                              "AI2D, test split: 3088 questions",
                                              {"question", "options", "answer", "image"}, prompt, read);
  benchmark.options = Options::kColumns;
  benchmark.adopt = adopt;
  return with_vlmevalkit(benchmark, vlmevalkit_choice_form(benchmark, adopt_table));
}

}  // namespace ropescope::eval
