#include "ropescope/eval/boxes.h"

#include <algorithm>

namespace ropescope::eval {

std::optional<double> read_decimal(TextView text, size_t& at) {
  const size_t begin = at;
  const auto digits = [&] {
    const size_t first = at;
    while (at < text.size() && is_digit(text[at])) ++at;
    return at > first;
  };
  if (at < text.size() && text[at] == U'-') ++at;
  if (!digits()) return std::nullopt;
  if (at + 1 < text.size() && text[at] == U'.' && is_digit(text[at + 1])) {
    ++at;
    digits();
  }
  return parse_float(text.substr(begin, at - begin));
}

namespace {

std::optional<Box> read_box_at(TextView text, size_t at) {
  Box box{};
  for (size_t i = 0; i < 4; ++i) {
    if (at >= text.size() || text[at] != (i == 0 ? U'[' : U',')) return std::nullopt;
    ++at;
    at = past_blanks(text, at);
    const auto number = read_decimal(text, at);
    if (!number) return std::nullopt;
    box[i] = *number;
  }
  at = past_blanks(text, at);
  if (at >= text.size() || text[at] != U']') return std::nullopt;
  return box;
}

}  // namespace

std::optional<Box> read_box(TextView output) {
  for (size_t at = output.find(U'['); at != TextView::npos; at = output.find(U'[', at + 1)) {
    if (auto box = read_box_at(output, at)) return box;
  }
  return std::nullopt;
}

Box box_from_pixels(const Box& xywh, double picture_width, double picture_height) {
  return {xywh[0] / picture_width, xywh[1] / picture_height, (xywh[0] + xywh[2]) / picture_width,
          (xywh[1] + xywh[3]) / picture_height};
}

double box_iou(const Box& a, const Box& b) {
  const double width = std::min(a[2], b[2]) - std::max(a[0], b[0]);
  const double height = std::min(a[3], b[3]) - std::max(a[1], b[1]);
  const double intersection = std::max(0.0, width) * std::max(0.0, height);
  const double area_a = (a[2] - a[0]) * (a[3] - a[1]);
  const double area_b = (b[2] - b[0]) * (b[3] - b[1]);
  const double joined = area_a + area_b - intersection;
  return joined > 0 ? intersection / joined : 0;
}

bool centre_inside(const Box& box, const Box& target) {
  const double x = (box[0] + box[2]) / 2, y = (box[1] + box[3]) / 2;
  return target[0] <= x && x <= target[2] && target[1] <= y && y <= target[3];
}

}  // namespace ropescope::eval
