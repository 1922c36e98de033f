#include <array>

#include "ropescope/core/errors.h"
#include "ropescope/eval/benchmarks/registry.h"
#include "ropescope/eval/boxes.h"

namespace ropescope::eval {

namespace refcoco_rec_rules {
namespace {

Json prompt(const Json& doc, const Rules&) {
  return to_utf8(
      U"Bounding box coordinates are specified in the format (top-left x, top-left y, bottom-right x, "
      U"bottom-right y). All values are floating point numbers bounded between 0 and 1. Please provide the "
      U"bounding box coordinate of the region this sentence describes: " +
      doc_text(doc, "answer"));
}

Box numbers(const Json& doc, const char* column) {
  const auto found = doc.find(column);
  if (found == doc.end() || !found->is_array() || found->size() != 4) {
    throw InputError("doc: \"{}\": expected four numbers", column);
  }
  Box box{};
  for (size_t i = 0; i < 4; ++i) {
    if (!(*found)[i].is_number()) throw InputError("doc: \"{}\": expected four numbers", column);
    box[i] = (*found)[i].get<double>();
  }
  return box;
}

/// `bbox`: corners as shares; or, where the doc has `image_size` [width, height], x, y, width, height in
/// pixels.
Box target(const Json& doc) {
  const Box box = numbers(doc, "bbox");
  const auto size = doc.find("image_size");
  if (size == doc.end()) return box;
  const bool valid = size->is_array() && size->size() == 2 && (*size)[0].is_number() &&
                     (*size)[1].is_number() && (*size)[0].get<double>() > 0 && (*size)[1].get<double>() > 0;
  if (!valid) throw InputError("doc: \"image_size\": expected width and height");
  return box_from_pixels(box, (*size)[0].get<double>(), (*size)[1].get<double>());
}

Reading read(const Json& doc, const std::string& output, const Rules&) {
  const Box box = read_box(from_utf8(output)).value_or(Box{0, 0, 0, 0});
  return {box, std::nullopt, box_iou(box, target(doc))};
}

class RefcocoTally : public Tally {
 public:
  void add(const Json& doc, const Reading& reading) override {
    iou_.add(reading.score);
    for (size_t i = 0; i < kLevels.size(); ++i) at_least_[i].add(reading.score >= kLevels[i].second ? 1 : 0);
    centre_.add(centre_inside(reading.extracted.get<Box>(), target(doc)) ? 1 : 0);
  }

  Json aggregates() const override {
    Json object = {{"IoU", iou_.json()}, {"Center_ACC", centre_.json()}};
    for (size_t i = 0; i < kLevels.size(); ++i) object[kLevels[i].first] = at_least_[i].json();
    return object;
  }

 private:
  static constexpr std::array<std::pair<const char*, double>, 5> kLevels = {
      {{"ACC@0.1", 0.1}, {"ACC@0.3", 0.3}, {"ACC@0.5", 0.5}, {"ACC@0.7", 0.7}, {"ACC@0.9", 0.9}}};
  Mean iou_, centre_;
  std::array<Mean, kLevels.size()> at_least_;
};

std::unique_ptr<Tally> tally(const Rules&) { return std::make_unique<RefcocoTally>(); }

double half_covered(const std::vector<double>& scores) { return scores.front() >= 0.5 ? 1 : 0; }

}  // namespace
}  // namespace refcoco_rec_rules

Benchmark refcoco_rec() {
  using namespace refcoco_rec_rules;
  return {"refcoco_rec",
          "The box of an expression (RefCOCO, RefCOCO+, RefCOCOg).",
          "RefCOCO, validation split (refcoco_bbox_rec_val): 8811 questions",
          {"question_id", "answer", "bbox", "image"},
          32,
          Json::json_pointer("/ACC@0.5"),
          100,
          prompt,
          read,
          tally,
          {nullptr, half_covered, nullptr}};
}

}  // namespace ropescope::eval
