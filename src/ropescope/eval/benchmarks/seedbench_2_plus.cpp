#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/vlmevalkit_forms.h"

namespace ropescope::eval {

namespace seedbench_2_plus_rules {
namespace {

constexpr const char* kChoices[] = {"choice_A", "choice_B", "choice_C", "choice_D"};

Json prompt(const Json& doc, const Rules&) {
  std::vector<Text> choices;
  for (const char* column : kChoices) {
    const Text choice = doc_text(doc, column);
    const bool picture = contains(choice, U"jpg") || contains(choice, U"png");
    choices.push_back(picture ? U"<image>" : choice);
  }
  return to_utf8(doc_text(doc, "question") + U"\n" + option_lines(lettered(choices)) + U"\n" +
                 Text(kLetterRequest));
}

Reading read(const Json& doc, const std::string& output, const Rules&) {
  const Text first(strip(from_utf8(output)).substr(0, 1));
  const bool right = lower(first) == lower(doc_text(doc, "answer"));
  const bool letter = first.size() == 1 && contains(U"ABCDabcd", first);
  return {to_utf8(first), std::nullopt, right ? 1.0 : 0.0, !letter};
}

/// VLMEvalKit's table: columns A to D, the kind of picture as `category`.
void adopt(Json& record) {
  for (const char* column : kChoices) {
    const std::string letter(1, column[std::string_view(column).size() - 1]);
    adopt_column(record, letter.c_str(), column);
  }
  if (record.contains(kChoices[0])) drop_option_columns(record);
  adopt_column(record, "category", "question_image_type");
}

/// The other way round, for VLMEvalKit's rules.
void adopt_table(Json& record) {
  for (const char* column : kChoices) {
    const std::string letter(1, column[std::string_view(column).size() - 1]);
    adopt_column(record, column, letter.c_str());
    record.erase(column);
  }
  adopt_column(record, "question_image_type", "category");
}

void check(const Json& doc) {
  std::vector<Text> choices;
  for (const char* column : kChoices) choices.push_back(doc_text(doc, column));
  check_letter(doc, lettered(choices));
}

class SeedbenchTally : public Tally {
 public:
  void add(const Json& doc, const Reading& reading) override {
    means_["seedbench_2_plus_" + to_utf8(capitalise(doc_text(doc, "question_image_type")))].add(
        reading.score);
    all_.add(reading.score);
  }

  Json aggregates() const override {
    Json object = json_of(means_);
    object["seedbench_2_plus_all"] = all_.json();
    return object;
  }

 private:
  Means means_;
  Mean all_;
};

std::unique_ptr<Tally> tally(const Rules&) { return std::make_unique<SeedbenchTally>(); }

}  // namespace
}  // namespace seedbench_2_plus_rules

Benchmark seedbench_2_plus() {
  using namespace seedbench_2_plus_rules;
  Benchmark benchmark = {"seedbench_2_plus",
                         "Charts, maps and web pages full of text, multiple choice.",
                         "SEED-Bench-2-Plus: 2277 questions",
                         {"question", "choice_A", "choice_B", "choice_C", "choice_D", "answer",
                          "question_image_type", "question_id", "image"},
                         16,
                         Json::json_pointer("/seedbench_2_plus_all"),
                         100,
                         prompt,
                         read,
                         tally,
                         {},
                         Options::kColumns,
                         adopt,
                         check};
  return with_vlmevalkit(benchmark, vlmevalkit_choice_form(benchmark, adopt_table));
}

}  // namespace ropescope::eval
