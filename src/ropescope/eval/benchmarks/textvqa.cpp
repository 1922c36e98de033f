#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/vqa_text.h"

namespace ropescope::eval {

namespace textvqa_rules {
namespace {

Json prompt(const Json& doc, const Rules& rules) {
  Text text = capitalise(doc_text(doc, "question"));
  if (rules.ocr_tokens) text += U"\nReference OCR token: " + join(doc_list(doc, "ocr_tokens"), U", ");
  return to_utf8(text + U"\n" + Text(kShortAnswerRequest));
}

Text normal(const Text& text) { return vqa_digits_articles(vqa_punctuation(vqa_one_line(vqa_words(text)))); }

Reading read(const Json& doc, const std::string& output, const Rules&) {
  std::vector<Text> answers = vqa_answers(doc);
  for (Text& answer : answers) answer = normal(answer);
  const Text text = normal(from_utf8(output));
  return {nullptr, to_utf8(text), vqa_accuracy(text, answers)};
}

}  // namespace
}  // namespace textvqa_rules

Benchmark textvqa() {
  using namespace textvqa_rules;
  Benchmark benchmark =
      exact_match_benchmark("textvqa", "Text in photographs, ten annotators each.",
                            "TextVQA, validation split (textvqa_val): 5000 questions",
                            {"question_id", "question", "answers", "ocr_tokens", "image"}, prompt, read);
  benchmark.adopt = adopt_answer_list;
  benchmark.check = check_vqa_answers;
  return benchmark;
}

}  // namespace ropescope::eval
