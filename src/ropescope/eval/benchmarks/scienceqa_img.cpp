#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/vlmevalkit_forms.h"

namespace ropescope::eval {

namespace scienceqa_img_rules {
namespace {

Json prompt(const Json& doc, const Rules&) {
  Text text;
  if (const auto hint = doc_cell(doc, "hint")) text = U"Context: " + *hint + U"\n";
  return to_utf8(text + doc_text(doc, "question") + U"\n" + option_lines(lettered(doc_list(doc, "choices"))) +
                 U"\n" + Text(kLetterRequest));
}

Reading read(const Json& doc, const std::string& output, const Rules& rules) {
  const Text text(strip(from_utf8(output)));
  const char32_t letter = letter_of(doc_integer(doc, "answer"), doc_list(doc, "choices").size(), "answer");
  const Text gold = lower(Text{letter});
  bool right = lower(text) == gold;
  // In the paper's state the text was lowered before this test, which therefore never applied.
  if (!right && rules.profile == Profile::kCurrent && text.size() >= 2 && is_upper(text[0]) &&
      text[1] == U'.') {
    right = lower(text.substr(0, 1)) == gold;
  }
  const bool single = !text.empty() && is_letter(text[0]) && (text.size() == 1 || text[1] == U'.');
  return {nullptr, std::nullopt, right ? 1.0 : 0.0, !single};
}

/// VLMEvalKit's table: columns A, B, ... and the letter of the answer.
void adopt(Json& record) { adopt_option_list(record, "choices", /*index=*/true); }

void adopt_table(Json& record) { options_into_columns(record, "choices", /*index=*/true); }

}  // namespace
}  // namespace scienceqa_img_rules

Benchmark scienceqa_img() {
  using namespace scienceqa_img_rules;
  Benchmark benchmark =
      exact_match_benchmark("scienceqa_img", "School science with a picture, multiple choice.",
                            "ScienceQA, questions of the test split that have a picture: 2017",
                            {"question", "choices", "answer", "hint", "image"}, prompt, read);
  benchmark.options = Options::kColumns;
  benchmark.adopt = adopt;
  return with_vlmevalkit(benchmark, vlmevalkit_choice_form(benchmark, adopt_table));
}

}  // namespace ropescope::eval
