#include <algorithm>
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
  if (size == doc.end()) {
    const auto [least, most] = std::minmax_element(box.begin(), box.end());
    if (*least < 0 || *most > 1) {
      throw InputError(
          "doc: \"bbox\": expected shares of the picture, 0 to 1, found {}; a box in pixels needs "
          "\"image_size\": [width, height]",
          *most > 1 ? *most : *least);
    }
    if (box[2] < box[0] || box[3] < box[1]) {
      throw InputError(
          "doc: \"bbox\": expected two corners, the upper left one first, as shares of the picture");
    }
    return box;
  }
  const bool valid = size->is_array() && size->size() == 2 && (*size)[0].is_number() &&
                     (*size)[1].is_number() && (*size)[0].get<double>() > 0 && (*size)[1].get<double>() > 0;
  if (!valid) throw InputError("doc: \"image_size\": expected width and height");
  const double width = (*size)[0].get<double>(), height = (*size)[1].get<double>();
  if (box[0] < 0 || box[1] < 0 || box[2] <= 0 || box[3] <= 0 || box[0] >= width || box[1] >= height) {
    throw InputError(
        "doc: \"bbox\": expected x, y, width, height inside of {} x {} pixels, found {}, {}, {}, {}", width,
        height, box[0], box[1], box[2], box[3]);
  }
  return box_from_pixels(box, width, height);
}

/// A table's cell holds the list as text.
void adopt(Json& record) {
  for (const char* column : {"bbox", "image_size"}) {
    const auto cell = record.find(column);
    if (cell == record.end() || !cell->is_string()) continue;
    Json list = Json::parse(cell->get<std::string>(), nullptr, /*allow_exceptions=*/false);
    if (list.is_array()) *cell = std::move(list);
  }
}

void check(const Json& doc) { target(doc); }

bool lacks_image_size(const Json& doc) {
  if (doc.contains("image_size")) return false;
  const Box box = numbers(doc, "bbox");
  return std::any_of(box.begin(), box.end(), [](double number) { return number > 1; });
}

Reading read(const Json& doc, const std::string& output, const Rules&) {
  const auto said = read_box(from_utf8(output));
  const Box box = said.value_or(Box{0, 0, 0, 0});
  return {box, std::nullopt, box_iou(box, target(doc)), !said};
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
          {nullptr, half_covered, nullptr},
          Options::kNone,
          adopt,
          check,
          lacks_image_size};
}

}  // namespace ropescope::eval
