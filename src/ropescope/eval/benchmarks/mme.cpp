#include <algorithm>
#include <iterator>
#include <string>

#include "ropescope/core/errors.h"
#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/vlmevalkit_forms.h"

namespace ropescope::eval {

namespace mme_rules {
namespace {

constexpr const char* kPerception[] = {"existence", "count", "position", "color",   "posters",
                                       "celebrity", "scene", "landmark", "artwork", "OCR"};
constexpr const char* kCognition[] = {"commonsense_reasoning", "numerical_calculation", "text_translation",
                                      "code_reasoning"};

Json prompt(const Json& doc, const Rules&) {
  const Text question = replace_all(strip(doc_text(doc, "question")), U" Please answer yes or no.", U"");
  return to_utf8(question + U"\n" + Text(kShortAnswerRequest));
}

/// "not", "none" and "know" read as no, "eyes" as yes: only the first four characters are looked at.
const char* read_label(const std::string& output) {
  const Text text = replace_all(strip(lower(from_utf8(output))), U".", U"");
  if (text == U"yes" || text == U"y") return "yes";
  if (text == U"no" || text == U"n") return "no";
  if (text.size() < 2) return "other";
  const TextView start = TextView(text).substr(0, 4);
  return contains(start, U"yes") ? "yes" : contains(start, U"no") ? "no" : "other";
}

Reading read(const Json& doc, const std::string& output, const Rules&) {
  const char* label = read_label(output);
  const bool right = from_utf8(label) == strip(lower(doc_text(doc, "answer")));
  return {label, std::nullopt, right ? 1.0 : 0.0, std::string_view(label) == "other"};
}

template <typename Names>
bool is_among(const std::string& category, const Names& names) {
  return std::find(std::begin(names), std::end(names), category) != std::end(names);
}

/// VLMEvalKit's table names the picture that two questions share in `image_path`.
void adopt(Json& record) { adopt_column(record, "image_path", "question_id"); }

void check(const Json& doc) {
  check_yes_or_no(doc);
  const std::string category = doc_key(doc, "category");
  if (is_among(category, kPerception) || is_among(category, kCognition)) return;
  // (its points would be part of no figure)
  throw InputError("doc: \"category\": expected one of MME's fourteen, found \"{}\"", category);
}

/// Of a picture, from the share of its questions that were answered right.
double points(double accuracy) { return 100 * accuracy + (accuracy == 1 ? 100 : 0); }

class MmeTally : public Tally {
 public:
  void add(const Json& doc, const Reading& reading) override {
    pictures_[{doc_key(doc, "category"), doc_key(doc, "question_id")}].add(reading.score);
  }

  Json aggregates() const override {
    Means categories;
    for (const auto& [key, answers] : pictures_) {
      if (answers.count() != 2) {
        throw InputError("MME: expected two answers for the picture {} of {}, found {}", key.second,
                         key.first, answers.count());
      }
      categories[key.first].add(points(answers.value()));
    }
    const auto sum = [&](const auto& names) {
      double total = 0;
      for (const char* name : names) {
        const auto found = categories.find(name);
        if (found != categories.end()) total += found->second.value();
      }
      return total;
    };
    const double perception = sum(kPerception), cognition = sum(kCognition);
    return {{"per_category", json_of(categories)},
            {"perception", perception},
            {"cognition", cognition},
            {"perception_percent", perception / 20},
            {"cognition_percent", cognition / 8},
            {"total_percent", (perception + cognition) / 28}};
  }

 private:
  std::map<std::pair<std::string, std::string>, Mean> pictures_;
};

std::unique_ptr<Tally> tally(const Rules&) { return std::make_unique<MmeTally>(); }

Unit unit(const Json& doc, const std::string&) {
  return {doc_key(doc, "category"), doc_key(doc, "category") + "/" + doc_key(doc, "question_id")};
}
double picture_points(const std::vector<double>& scores) {
  Mean mean;
  for (const double score : scores) mean.add(score);
  return points(mean.value());
}
double weight(const std::string&, size_t) { return 1.0 / 28; }
std::string part(const Json& doc) {
  return is_among(doc_key(doc, "category"), kCognition) ? "cognition" : "perception";
}

}  // namespace
}  // namespace mme_rules

Benchmark mme() {
  using namespace mme_rules;
  Benchmark benchmark = {"mme",
                         "Perception and cognition, two yes-no questions a picture, points.",
                         "MME: 2374 questions",
                         {"question_id", "question", "answer", "category", "image"},
                         16,
                         Json::json_pointer("/total_percent"),
                         1,
                         prompt,
                         read,
                         tally,
                         {unit, picture_points, weight, part},
                         Options::kNone,
                         adopt,
                         check};
  return with_vlmevalkit(benchmark, vlmevalkit_yes_no_form(benchmark));
}

}  // namespace ropescope::eval
