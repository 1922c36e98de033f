#include <algorithm>

#include "ropescope/core/errors.h"
#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/video_rules.h"

namespace ropescope::eval {

namespace videomme_rules {
namespace {

constexpr TextView kLetters = U"ABCD";

/// The data's options begin with their letters.
Json prompt(const Json& doc, const Rules& rules) {
  const Text question =
      U"Select the best answer to the following multiple-choice question based on the video and the subtitles. "
      U"Respond with only the letter (A, B, C, or D) of the correct option.\n" +
      doc_text(doc, "question") + U"\n" + join(doc_list(doc, "options"), U"\n") + U"\n";
  if (!rules.subtitles) return to_utf8(question + U"\n" + Text(kLetterRequest));
  if (!doc.contains("subtitles")) {
    throw InputError("doc: \"subtitles\": expected the subtitles' text, found none; ask without --subtitles");
  }
  const Json& text = doc.at("subtitles");
  if (!text.is_string()) throw InputError("doc: \"subtitles\": expected a text");
  return to_utf8(U"This video's subtitles are listed below: \n" + from_utf8(text.get<std::string>()) + U"\n" +
                 question + U"The best answer is:");
}

/// Six beginnings are taken out (two of them are glued together of two each, and so never occur), then the first letter
/// counts; a capital that begins a word does too.
std::optional<char32_t> first_letter(TextView output) {
  Text text(strip(output));
  for (const TextView said :
       {U"The best answer is", U"The correct answer is", U"The answer is", U"The answer",
        U"The best option isThe correct option is", U"Best answer:Best option:"}) {
    text = replace_all(text, said, U"");
  }
  const size_t at = text.find_first_of(kLetters);
  return at == Text::npos ? std::nullopt : std::optional(text[at]);
}

Reading read(const Json& doc, const std::string& output, const Rules& rules) {
  const Text text = from_utf8(output);
  const auto letter = rules.profile == Profile::kPaper ? first_letter(text) : extract_choice(text, kLetters);
  const bool right = letter && Text{*letter} == doc_text(doc, "answer");
  return letter_reading(letter, right);
}

void check(const Json& doc) {
  doc_list(doc, "options");
  check_letter(doc, lettered(std::vector<Text>(kLetters.size())));
}

class VideommeTally : public Tally {
 public:
  void add(const Json& doc, const Reading& reading) override {
    all_.add(reading.score);
    for (size_t i = 0; i < std::size(kGroups); ++i) {
      if (const auto name = doc_cell(doc, kGroups[i].second)) groups_[i][to_utf8(*name)].add(reading.score);
    }
  }

  Json aggregates() const override {
    Json object = {{"videomme_perception_score", all_.json()}};
    for (size_t i = 0; i < std::size(kGroups); ++i) object[kGroups[i].first] = json_of(groups_[i]);
    return object;
  }

 private:
  static constexpr std::pair<const char*, const char*> kGroups[] = {{"durations", "duration"},
                                                                    {"domains", "domain"},
                                                                    {"sub_categories", "sub_category"},
                                                                    {"task_types", "task_type"}};
  Mean all_;
  Means groups_[std::size(kGroups)];
};

std::unique_ptr<Tally> tally(const Rules&) { return std::make_unique<VideommeTally>(); }

Unit unit(const Json& doc, const std::string& item) { return {"", clip_name(doc, item)}; }

std::string duration(const Json& doc) {
  const auto cell = doc_cell(doc, "duration");
  return cell ? to_utf8(*cell) : "";
}

}  // namespace
}  // namespace videomme_rules

Benchmark videomme() {
  using namespace videomme_rules;
  Benchmark benchmark = {
      "videomme",
      "Questions about clips of seconds to an hour, multiple choice; --subtitles gives what is said in them.",
      "Video-MME, 900 clips: 2700 questions",
      {"videoID", "question_id", "question", "options", "answer", "duration", "domain", "sub_category",
       "task_type", "subtitle_path", "video"},
      16,
      Json::json_pointer("/videomme_perception_score"),
      100,
      prompt,
      read,
      tally,
      {unit, unit_mean, nullptr, duration},
      Options::kColumns,
      nullptr,
      check};
  benchmark.units.weigh_items = true;
  benchmark.about_clips = true;
  benchmark.has_subtitles = true;
  return benchmark;
}

}  // namespace ropescope::eval
