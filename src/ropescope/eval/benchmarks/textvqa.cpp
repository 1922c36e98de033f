#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/vlmevalkit.h"
#include "ropescope/eval/vlmevalkit_forms.h"
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

Reading vlmevalkit_read(const Json& doc, const std::string& output, const Rules&) {
  const Text text = from_utf8(output);
  return {nullptr, to_utf8(vlmevalkit_vqa_text(text)), vlmevalkit_vqa_score(text, vqa_answers(doc))};
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
  benchmark.has_ocr = true;
  Benchmark form = benchmark;
  form.has_ocr = false;
  form.prompt = vlmevalkit_short_prompt;
  form.read = vlmevalkit_read;
  form.max_new_tokens = kVlmEvalKitTokens;
  return with_vlmevalkit(benchmark, std::move(form));
}

}  // namespace ropescope::eval
