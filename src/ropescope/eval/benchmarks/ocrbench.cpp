#include <algorithm>
#include <iterator>

#include "ropescope/core/errors.h"
#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/vlmevalkit_forms.h"

namespace ropescope::eval {

namespace ocrbench_rules {
namespace {

constexpr const char* kFormulas = "Handwritten Mathematical Expression Recognition";
/// Of which the first six are the recognition of text.
constexpr const char* kTypes[] = {"Regular Text Recognition",   "Irregular Text Recognition",
                                  "Artistic Text Recognition",  "Handwriting Recognition",
                                  "Digit String Recognition",   "Non-Semantic Text Recognition",
                                  "Scene Text-centric VQA",     "Doc-oriented VQA",
                                  "Key Information Extraction", kFormulas};
constexpr size_t kRecognition = 6;
constexpr double kQuestions = 1000;

Json prompt(const Json& doc, const Rules&) { return to_utf8(strip(doc_text(doc, "question"))); }

std::vector<Text> answers_of(const Json& doc) {
  const Json& answer = doc.contains("answer") ? doc["answer"] : Json();
  if (answer.is_array()) return doc_list(doc, "answer");
  return {doc_text(doc, "answer")};
}

/// Formulas are compared without blanks.
Text formula(TextView text) { return replace_all(replace_all(strip(text), U"\n", U" "), U" ", U""); }

/// Full-width forms of ASCII and the ideographic blank.
Text narrow(TextView text) {
  Text out(text);
  for (char32_t& c : out) {
    if (c >= 0xFF01 && c <= 0xFF5E) c -= 0xFEE0;
    if (c == 0x3000) c = U' ';
  }
  return out;
}

Text plain(TextView text) { return replace_all(strip(lower(text)), U"\n", U" "); }

template <typename Normal>
Reading contained(const Json& doc, TextView output, Normal&& normal) {
  const Text said = normal(output);
  bool right = false;
  for (const Text& answer : answers_of(doc)) right = right || contains(said, normal(answer));
  return {nullptr, std::nullopt, right ? 1.0 : 0.0};
}

Reading read(const Json& doc, const std::string& output, const Rules& rules) {
  const bool paper = rules.profile == Profile::kPaper;
  const Text text = from_utf8(output);
  // (in May 2025 a formula's answer kept its case where the output lost it)
  if (doc_text(doc, "dataset") == U"HME100k") {
    const Text said = formula(paper ? lower(text) : text);
    bool right = false;
    for (const Text& answer : answers_of(doc)) right = right || contains(said, formula(answer));
    return {nullptr, std::nullopt, right ? 1.0 : 0.0};
  }
  if (paper) return contained(doc, text, plain);
  return contained(doc, text, [](TextView one) { return plain(narrow(one)); });
}

Reading table_read(const Json& doc, const std::string& output, const Rules&) {
  const Text text = from_utf8(output);
  return doc_key(doc, "question_type") == kFormulas ? contained(doc, text, formula)
                                                    : contained(doc, text, plain);
}

/// VLMEvalKit's table: the type as `category`, the answers as the text of a list.
void adopt_table(Json& record) {
  adopt_column(record, "category", "question_type");
  if (!record.contains("answer") || !record["answer"].is_string()) return;
  const Text text = doc_text(record, "answer");
  if (text.empty() || text[0] != U'[') return;
  if (const auto texts = parse_string_list(text)) {
    record["answer"] = Json::array();
    for (const Text& one : *texts) record["answer"].push_back(to_utf8(one));
  }
}

void adopt(Json& record) {
  adopt_table(record);
  // (its rule for formulas asks for the data set that they come from)
  if (record.contains("question_type") && !record.contains("dataset")) {
    record["dataset"] = record["question_type"] == kFormulas ? "HME100k" : "";
  }
}

void check(const Json& doc) {
  if (answers_of(doc).empty()) throw InputError("doc: \"answer\": expected an answer, found none");
  const std::string type = doc_key(doc, "question_type");
  if (std::find(std::begin(kTypes), std::end(kTypes), type) == std::end(kTypes)) {
    throw InputError("doc: \"question_type\": expected one of OCRBench's ten, found \"{}\"", type);
  }
}

/// Points: right answers of 1,000, in sum and by type.
class OcrbenchTally : public Tally {
 public:
  void add(const Json& doc, const Reading& reading) override {
    all_.add(reading.score);
    points_[doc_key(doc, "question_type")] += reading.score;
  }
  Json aggregates() const override {
    Json types = Json::object();
    double recognition = 0, sum = 0;
    for (size_t i = 0; i < std::size(kTypes); ++i) {
      const auto found = points_.find(kTypes[i]);
      const double points = found == points_.end() ? 0 : found->second;
      types[kTypes[i]] = points;
      sum += points;
      if (i < kRecognition) recognition += points;
    }
    return {{"ocrbench_accuracy", sum / kQuestions},
            {"accuracy", all_.json()},
            {"final_score", sum},
            {"text_recognition", recognition},
            {"question_type", types}};
  }

 private:
  Mean all_;
  std::map<std::string, double> points_;
};

std::unique_ptr<Tally> tally(const Rules&) { return std::make_unique<OcrbenchTally>(); }
std::string part(const Json& doc) { return doc_key(doc, "question_type"); }

}  // namespace
}  // namespace ocrbench_rules

Benchmark ocrbench() {
  using namespace ocrbench_rules;
  Benchmark benchmark = {"ocrbench",
                         "Text in pictures, ten types: recognition, questions, key information, formulas.",
                         "OCRBench: 1000 questions",
                         {"question", "answer", "dataset", "question_type", "image"},
                         128,
                         Json::json_pointer("/accuracy"),
                         100,
                         prompt,
                         read,
                         tally,
                         {nullptr, nullptr, nullptr, part},
                         Options::kNone,
                         adopt,
                         check};
  benchmark.other_names = {"OCRBench"};
  Benchmark form = benchmark;
  form.columns = {"index", "question", "answer", "question_type", "image"};
  form.prompt = vlmevalkit_bare_prompt;
  form.read = table_read;
  form.adopt = adopt_table;
  form.max_new_tokens = kVlmEvalKitTokens;
  return with_vlmevalkit(benchmark, std::move(form));
}

}  // namespace ropescope::eval
