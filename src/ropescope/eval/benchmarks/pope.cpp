#include <algorithm>

#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/vlmevalkit_forms.h"

namespace ropescope::eval {

namespace pope_rules {
namespace {

Json prompt(const Json& doc, const Rules&) {
  return to_utf8(Text(strip(doc_text(doc, "question"))) + U"\n" + Text(kShortAnswerRequest));
}

Reading read(const Json& doc, const std::string& output, const Rules&) {
  const Text text(strip(lower(from_utf8(output))));
  const double score = text == strip(lower(doc_text(doc, "answer"))) ? 1 : 0;
  return {to_utf8(text), std::nullopt, score, text != U"yes" && text != U"no"};
}

/// The names between the commas of `category`; one empty name where there is no such column.
std::vector<std::string> categories_in(const Json& doc) {
  const std::string text = to_utf8(doc_cell(doc, "category").value_or(U""));
  std::vector<std::string> names;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    names.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return names;
}

double ratio(int64_t part, int64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

/// Outputs other than exactly `yes` and `no` are wrong, but enter neither precision nor recall.
struct YesNoCounts {
  int64_t items = 0, right = 0, true_yes = 0, false_yes = 0, false_no = 0, gold_yes = 0, said_yes = 0;

  void add(bool gold_is_yes, const std::string& said, double score) {
    ++items;
    right += score == 1 ? 1 : 0;
    gold_yes += gold_is_yes ? 1 : 0;
    said_yes += said == "yes" ? 1 : 0;
    if (said == "yes") (gold_is_yes ? true_yes : false_yes) += 1;
    if (said == "no" && gold_is_yes) ++false_no;
  }

  Json json() const {
    const double precision = ratio(true_yes, true_yes + false_yes);
    const double recall = ratio(true_yes, true_yes + false_no);
    const double sum = precision + recall;
    return {{"accuracy", ratio(right, items)},
            {"precision", precision},
            {"recall", recall},
            {"f1", sum == 0 ? 0 : 2 * precision * recall / sum},
            {"yes_ratio_as_in_lmms_eval", ratio(gold_yes, items)},
            {"yes_ratio_of_predictions", ratio(said_yes, items)}};
  }
};

/// Counts of all records, and of each category.
class YesNoTally : public Tally {
 public:
  Json aggregates() const override {
    Json categories = Json::object();
    for (const auto& [name, counts] : categories_) categories[name] = counts.json();
    return {{"all", all_.json()}, {"by_category", categories}};
  }

 protected:
  YesNoCounts all_;
  std::map<std::string, YesNoCounts> categories_;
};

class PopeTally : public YesNoTally {
 public:
  void add(const Json& doc, const Reading& reading) override {
    const bool yes = strip(lower(doc_text(doc, "answer"))) == U"yes";
    const auto said = reading.extracted.get<std::string>();
    all_.add(yes, said, reading.score);
    if (const auto category = doc_cell(doc, "category")) {
      categories_[to_utf8(*category)].add(yes, said, reading.score);
    }
  }
};

std::unique_ptr<Tally> tally(const Rules&) { return std::make_unique<PopeTally>(); }

/// VLMEvalKit: what is not Yes counts as No for precision and recall, and a record that its table puts into several
/// categories ("popular,random") counts once in each.
class VlmEvalKitTally : public YesNoTally {
 public:
  void add(const Json& doc, const Reading& reading) override {
    const bool yes = strip(lower(doc_text(doc, "answer"))) == U"yes";
    const std::string said = reading.extracted == "Yes" ? "yes" : "no";
    for (const std::string& category : categories_in(doc)) {
      all_.add(yes, said, reading.score);
      if (!category.empty()) categories_[category].add(yes, said, reading.score);
    }
  }
};

std::unique_ptr<Tally> vlmevalkit_tally(const Rules&) { return std::make_unique<VlmEvalKitTally>(); }
double times(const Json& doc) { return static_cast<double>(categories_in(doc).size()); }

}  // namespace
}  // namespace pope_rules

Benchmark pope() {
  using namespace pope_rules;
  Benchmark benchmark = {"pope",
                         "Is there such an object in the picture? yes or no.",
                         "POPE, splits adversarial, popular and random: 9000 questions",
                         {"question_id", "question", "answer", "category", "image"},
                         128,
                         Json::json_pointer("/all/accuracy"),
                         100,
                         prompt,
                         read,
                         tally,
                         {},
                         Options::kNone,
                         nullptr,
                         check_yes_or_no};
  Benchmark form = vlmevalkit_yes_no_form(benchmark);
  form.tally = vlmevalkit_tally;
  form.units.times = times;
  return with_vlmevalkit(benchmark, std::move(form));
}

}  // namespace ropescope::eval
