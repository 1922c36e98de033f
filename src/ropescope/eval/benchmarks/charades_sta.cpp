#include <algorithm>
#include <array>
#include <map>

#include "ropescope/core/errors.h"
#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/time_spans.h"
#include "ropescope/eval/video_rules.h"

namespace ropescope::eval {

namespace charades_sta_rules {
namespace {

Json prompt(const Json& doc, const Rules&) {
  return to_utf8(
      U"Please find the visual event described by a sentence in the video, determining its starting and ending "
      U"times. The format should be: 'The event happens in the start time - end time'. For example, The event "
      U"'person turn a light on' happens in the 24.3 - 30.4 seonds. Now I will give you the textual sentence: " +
      doc_text(doc, "caption") + U". Please return its start time and end time.");
}

/// A table's cell, and the harness's data, hold the list as text.
void adopt(Json& record) { adopt_json_list(record, "timestamp"); }

Span target(const Json& doc) {
  const auto found = doc.find("timestamp");
  const bool two = found != doc.end() && found->is_array() && found->size() == 2 && (*found)[0].is_number() &&
                   (*found)[1].is_number();
  const Span span = two ? Span{(*found)[0].get<double>(), (*found)[1].get<double>()} : Span{0, -1};
  if (span[0] < 0 || span[1] < span[0]) {
    throw InputError("doc: \"timestamp\": expected [start, end] in seconds");
  }
  return span;
}

void check(const Json& doc) { target(doc); }

Reading read(const Json& doc, const std::string& output, const Rules& rules) {
  const Text text(strip(from_utf8(output)));
  const auto span = rules.profile == Profile::kPaper ? read_span_of_2025(text) : read_span(text);
  const Span gold = target(doc);
  return {span ? Json(*span) : Json(nullptr), std::nullopt, span ? span_iou(gold, *span) : 0.0, !span};
}

/// The harness keeps its answers by clip, sentence and times: of questions that are put twice the last answer counts.
class CharadesTally : public Tally {
 public:
  void add(const Json& doc, const Reading& reading) override {
    const Json key = {doc_key(doc, "video"), doc_key(doc, "caption"), doc.at("timestamp")};
    overlaps_[key.dump(-1, ' ', true)] = reading.score;
  }

  Json aggregates() const override {
    constexpr std::array<std::pair<const char*, double>, 3> kLevels = {
        {{"IOU@3", 0.3}, {"IOU@5", 0.5}, {"IOU@7", 0.7}}};
    Mean mean;
    std::array<Mean, kLevels.size()> at_least;
    for (const auto& [key, overlap] : overlaps_) {
      mean.add(overlap);
      for (size_t i = 0; i < kLevels.size(); ++i) at_least[i].add(overlap >= kLevels[i].second ? 1 : 0);
    }
    Json object = {{"mIOU", mean.json()}};
    for (size_t i = 0; i < kLevels.size(); ++i) object[kLevels[i].first] = at_least[i].json();
    return object;
  }

 private:
  std::map<std::string, double> overlaps_;
};

std::unique_ptr<Tally> tally(const Rules&) { return std::make_unique<CharadesTally>(); }

Unit unit(const Json& doc, const std::string&) { return {"", doc_key(doc, "video")}; }

}  // namespace
}  // namespace charades_sta_rules

Benchmark charades_sta() {
  using namespace charades_sta_rules;
  Benchmark benchmark = {"charades_sta",
                         "When something happens in a clip: the span of seconds.",
                         "Charades-STA, test split",
                         {"video", "caption", "timestamp"},
                         50,
                         Json::json_pointer("/mIOU"),
                         100,
                         prompt,
                         read,
                         tally,
                         {unit, unit_mean, nullptr},
                         Options::kNone,
                         adopt,
                         check};
  benchmark.units.weigh_items = true;
  benchmark.about_clips = true;
  return benchmark;
}

}  // namespace ropescope::eval
