#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/video_rules.h"

namespace ropescope::eval {

namespace lvbench_rules {
namespace {

constexpr TextView kLetters = U"ABCD";

bool has_options(const Json& doc) {
  const auto options = doc.find("options");
  return options != doc.end() && !options->is_null() && !(options->is_array() && options->empty());
}

Json prompt(const Json& doc, const Rules&) {
  Text text = doc_text(doc, "question");
  if (has_options(doc)) text += U"\n" + join(bracketed(doc_list(doc, "options")), U"\n");
  return to_utf8(text + U"\nAnswer the question with the option letter");
}

Reading read(const Json& doc, const std::string& output, const Rules&) {
  const auto letter = extract_choice(from_utf8(output), kLetters);
  const bool right = letter && Text{*letter} == doc_text(doc, "answer");
  return letter_reading(letter, right);
}

void check(const Json& doc) {
  check_letter(doc, lettered(std::vector<Text>(kLetters.size())));
  if (!has_options(doc)) check_options_in_question(doc);
}

std::unique_ptr<Tally> tally(const Rules&) { return std::make_unique<MeanTally>("lvbench_score"); }

Unit unit(const Json& doc, const std::string& item) { return {"", clip_name(doc, item)}; }

}  // namespace
}  // namespace lvbench_rules

Benchmark lvbench() {
  using namespace lvbench_rules;
  Benchmark benchmark = {"lvbench",
                         "Questions about films and shows of an hour, multiple choice.",
                         "LVBench, 103 clips (lvbench)",
                         {"video_path", "question", "options", "answer"},
                         16,
                         Json::json_pointer("/lvbench_score"),
                         100,
                         prompt,
                         read,
                         tally,
                         {unit, unit_mean, nullptr},
                         Options::kColumns,
                         nullptr,
                         check};
  benchmark.units.weigh_items = true;
  benchmark.about_clips = true;
  benchmark.profiles = {Profile::kCurrent};
  return benchmark;
}

}  // namespace ropescope::eval
