#include <algorithm>

#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/vqa_text.h"

namespace ropescope::eval {

namespace vqav2_rules {
namespace {

Json prompt(const Json& doc, const Rules&) {
  return to_utf8(doc_text(doc, "question") + U"\n" + Text(kShortAnswerRequest));
}

Text normal(const Text& text) { return vqa_digits_articles(vqa_punctuation(text)); }

Reading read(const Json& doc, const std::string& output, const Rules& rules) {
  std::vector<Text> answers = vqa_answers(doc);
  for (Text& answer : answers) answer = vqa_one_line(answer);
  Text text(strip(from_utf8(output)));
  bool normalise = true;
  if (rules.profile == Profile::kPaper) {
    text = normal(vqa_one_line(vqa_words(text)));
    // Answers that all agree stay as they are: a unanimous "NIKE" or "two" is never matched.
    normalise = std::adjacent_find(answers.begin(), answers.end(), std::not_equal_to<>()) != answers.end();
  } else {
    text = vqa_one_line(text);
  }
  if (normalise) {
    for (Text& answer : answers) answer = normal(answer);
    text = normal(text);
  }
  return {nullptr, to_utf8(text), vqa_accuracy(text, answers)};
}

}  // namespace
}  // namespace vqav2_rules

Benchmark vqav2() {
  using namespace vqav2_rules;
  Benchmark benchmark =
      exact_match_benchmark("vqav2", "Open questions about photographs, ten annotators each.",
                            "VQAv2, validation split (vqav2_val): 214354 questions",
                            {"question_id", "question", "answers", "image"}, prompt, read);
  benchmark.adopt = adopt_answer_list;
  benchmark.check = check_vqa_answers;
  return benchmark;
}

}  // namespace ropescope::eval
