#include "ropescope/eval/referring.h"

#include <algorithm>
#include <array>
#include <utility>

#include "ropescope/core/errors.h"
#include "ropescope/eval/box_text.h"
#include "ropescope/eval/doc.h"
#include "ropescope/eval/option_columns.h"
#include "ropescope/eval/tallies.h"

namespace ropescope::eval {

namespace referring_rules {
namespace {

using Size = std::array<double, 2>;  // width, height

/// The scale that the rules name; else the one that the record was asked with.
BoxScale scale_of(const Json& doc, const Rules& rules) {
  if (rules.boxes != BoxScale::kAuto) return rules.boxes;
  const auto asked = doc.find("box_scale");
  if (asked == doc.end() || !asked->is_string()) return BoxScale::kUnit;
  const auto name = asked->get<std::string>();
  for (const auto scale : {BoxScale::kUnit, BoxScale::kPixels, BoxScale::kThousand, BoxScale::kBetter}) {
    if (name != box_scale_name(scale)) continue;
    const std::string why = box_refusal(scale, rules.profile);
    if (!why.empty()) throw InputError("doc: \"box_scale\": {}", why);
    return scale;
  }
  throw InputError("doc: \"box_scale\": expected unit, pixels, thousand or better, found \"{}\"", name);
}

/// The expression in quotes; several of one box, each in its own.
Text quoted_expressions(const Json& doc) {
  const auto column = doc.find("answer");
  if (column == doc.end() || !column->is_array()) return U"\"" + doc_text(doc, "answer") + U"\"";
  std::vector<Text> quoted;
  for (const Text& expression : doc_list(doc, "answer")) {
    if (!strip(expression).empty()) quoted.push_back(U"\"" + Text(strip(expression)) + U"\"");
  }
  return quoted.empty() ? U"\"\"" : join(quoted, U", ");
}

Json prompt(const Json& doc, const Rules& rules) {
  if (scale_of(doc, rules) != BoxScale::kUnit) {
    return to_utf8(U"Locate every object that matches the description " + quoted_expressions(doc) +
                   U" in the image. Report bbox coordinates in JSON format.");
  }
  return to_utf8(
      U"Bounding box coordinates are specified in the format (top-left x, top-left y, bottom-right x, "
      U"bottom-right y). All values are floating point numbers bounded between 0 and 1. Please provide the "
      U"bounding box coordinate of the region this sentence describes: " +
      doc_text(doc, "answer"));
}

/// An object as JSON takes more tokens than four numbers.
int64_t longest_answer(const Rules& rules) {
  constexpr int64_t kNumbers = 32, kObjects = 512;
  return rules.boxes == BoxScale::kAuto || rules.boxes == BoxScale::kUnit ? kNumbers : kObjects;
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

/// Width and height, of which `why` tells what they are for where the column is missing.
Size size_in(const Json& doc, const char* column, const char* why) {
  const auto size = doc.find(column);
  if (size == doc.end())
    throw InputError("doc: \"{}\": expected [width, height], found none; {}", column, why);
  const bool valid = size->is_array() && size->size() == 2 && (*size)[0].is_number() &&
                     (*size)[1].is_number() && (*size)[0].get<double>() > 0 && (*size)[1].get<double>() > 0;
  if (!valid) throw InputError("doc: \"{}\": expected width and height", column);
  return {(*size)[0].get<double>(), (*size)[1].get<double>()};
}

/// `bbox`: corners as shares; or, where the doc has `image_size` [width, height], x, y, width, height in
/// pixels.
Box target(const Json& doc) {
  const Box box = numbers(doc, "bbox");
  if (!doc.contains("image_size")) {
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
  const auto [width, height] = size_in(doc, "image_size", "");
  if (box[0] < 0 || box[1] < 0 || box[2] <= 0 || box[3] <= 0 || box[0] >= width || box[1] >= height) {
    throw InputError(
        "doc: \"bbox\": expected x, y, width, height inside of {} x {} pixels, found {}, {}, {}, {}", width,
        height, box[0], box[1], box[2], box[3]);
  }
  return box_from_pixels(box, width, height);
}

/// A table's cell holds the list as text.
void adopt(Json& record) {
  for (const char* column : {"bbox", "image_size", "input_size"}) adopt_json_list(record, column);
}

void check(const Json& doc) { target(doc); }

bool lacks_image_size(const Json& doc) {
  if (doc.contains("image_size")) return false;
  const Box box = numbers(doc, "bbox");
  return std::any_of(box.begin(), box.end(), [](double number) { return number > 1; });
}

Box divided(const Box& box, const Size& size) {
  return {box[0] / size[0], box[1] / size[1], box[2] / size[0], box[3] / size[1]};
}

/// Whether `box`, as shares, can have been meant so: it begins in the picture and ends at less than twice its sides.
bool fits_picture(const Box& box) { return box[0] < 1 && box[1] < 1 && box[2] < 2 && box[3] < 2; }

Reading reading_of(const std::optional<Box>& said, const Json& doc) {
  const Box box = said.value_or(Box{0, 0, 0, 0});
  return {box, std::nullopt, box_iou(box, target(doc)), !said};
}

/// As lmms-eval reads it. A box far outside of the picture is scored like any other, and counted as unreadable: it is of
/// another scale.
Reading read_unit(const Json& doc, const std::string& output) {
  const auto said = read_box(from_utf8(output));
  Reading reading = reading_of(said, doc);
  reading.unreadable = !said || !fits_picture(*said);
  return reading;
}

/// The first box of the answer, if it can be of the scale: else it is unreadable, and no box at all.
Reading read_scaled(const Json& doc, const std::string& output, BoxScale scale) {
  const bool pixels = scale == BoxScale::kPixels;
  const Size size =
      pixels ? size_in(doc, "input_size",
                       "it is the size of the picture as the model saw it, in whose pixels it answers")
             : Size{1000, 1000};
  auto said = read_marked_box(from_utf8(output));
  if (said) {
    const auto [least, most] = std::minmax_element(said->begin(), said->end());
    const bool shares = *most <= 1;  // of the picture, or a box of one pixel at its corner
    const bool outside = pixels ? !fits_picture(divided(*said, size)) : *most > 1000;
    if (shares || outside || *least < 0) {
      said.reset();
    } else {
      said = divided(*said, size);
    }
  }
  return reading_of(said, doc);
}

double width_or_none(double from, double to) { return std::max(0.0, to - from); }

/// Overlap with the areas of turned boxes taken as none.
double harness_iou(const Box& a, const Box& b) {
  const double inside = width_or_none(std::max(a[0], b[0]), std::min(a[2], b[2])) *
                        width_or_none(std::max(a[1], b[1]), std::min(a[3], b[3]));
  const double joined = width_or_none(a[0], a[2]) * width_or_none(a[1], a[3]) +
                        width_or_none(b[0], b[2]) * width_or_none(b[1], b[3]) - inside;
  return joined > 0 ? inside / joined : 0;
}

/// Every box of the answer in two scales; the first of those that overlap the truth most.
Reading read_better(const Json& doc, const std::string& output) {
  const Size size = size_in(doc, "image_size", "boxes are compared in pixels of the picture");
  const Box given = numbers(doc, "bbox");
  target(doc);
  const Box gold = {given[0], given[1], given[0] + given[2], given[1] + given[3]};
  Box best = {0, 0, 0, 0};
  double best_iou = -1;
  for (const Box& box : harness_boxes(from_utf8(output))) {
    const Box thousandths = {box[0] / 1000 * size[0], box[1] / 1000 * size[1], box[2] / 1000 * size[0],
                             box[3] / 1000 * size[1]};
    for (const Box& candidate : {box, thousandths}) {
      const double iou = harness_iou(candidate, gold);
      if (iou > best_iou) {
        best = candidate;
        best_iou = iou;
      }
    }
  }
  return {divided(best, size), std::nullopt, std::max(best_iou, 0.0), best_iou < 0};
}

Reading read(const Json& doc, const std::string& output, const Rules& rules) {
  switch (scale_of(doc, rules)) {
    case BoxScale::kPixels:
      return read_scaled(doc, output, BoxScale::kPixels);
    case BoxScale::kThousand:
      return read_scaled(doc, output, BoxScale::kThousand);
    case BoxScale::kBetter:
      return read_better(doc, output);
    case BoxScale::kAuto:
    case BoxScale::kUnit:
      break;
  }
  return read_unit(doc, output);
}

/// The figures of some records.
class Figures {
 public:
  void add(double iou, bool centre) {
    iou_.add(iou);
    for (size_t i = 0; i < kLevels.size(); ++i) at_least_[i].add(iou >= kLevels[i].second ? 1 : 0);
    centre_.add(centre ? 1 : 0);
  }

  Json json() const {
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

std::string split_of(const Json& doc) {
  const auto split = doc_cell(doc, "split");
  return split ? to_utf8(*split) : "";
}

class ReferringTally : public Tally {
 public:
  void add(const Json& doc, const Reading& reading) override {
    const bool centre = centre_inside(reading.extracted.get<Box>(), target(doc));
    all_.add(reading.score, centre);
    if (const std::string split = split_of(doc); !split.empty()) splits_[split].add(reading.score, centre);
  }

  Json aggregates() const override {
    Json object = all_.json();
    for (const auto& [split, figures] : splits_) object["splits"][split] = figures.json();
    return object;
  }

 private:
  Figures all_;
  std::map<std::string, Figures> splits_;
};

std::unique_ptr<Tally> tally(const Rules&) { return std::make_unique<ReferringTally>(); }

double half_covered(const std::vector<double>& scores) { return scores.front() >= 0.5 ? 1 : 0; }

}  // namespace
}  // namespace referring_rules

Benchmark referring_benchmark(std::string name, std::string summary, std::string data) {
  using namespace referring_rules;
  Benchmark benchmark = {std::move(name),
                         std::move(summary),
                         std::move(data),
                         {"question_id", "answer", "bbox", "split", "image"},
                         32,
                         Json::json_pointer("/ACC@0.5"),
                         100,
                         prompt,
                         read,
                         tally,
                         {nullptr, half_covered, nullptr, split_of},
                         Options::kNone,
                         adopt,
                         check,
                         lacks_image_size};
  benchmark.has_boxes = true;
  benchmark.longest_answer = longest_answer;
  return benchmark;
}

}  // namespace ropescope::eval
