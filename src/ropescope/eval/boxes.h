// Boxes of referring expressions.
#pragma once

#include <array>
#include <optional>

#include "ropescope/eval/python_text.h"

namespace ropescope::eval {

/// Left, top, right, bottom, as shares of the picture's width and height.
using Box = std::array<double, 4>;

/// A number without exponent and plus sign, -?\d+(\.\d+)?, at `at`, which moves behind it; else none.
std::optional<double> read_decimal(TextView text, size_t& at);

/// The first "[n, n, n, n]" of an answer; none if there is none. Blanks are allowed after "[" and commas and
/// before "]", not before commas; no exponents, no plus signs.
std::optional<Box> read_box(TextView output);

/// x, y, width, height in pixels to corners as shares.
Box box_from_pixels(const Box& xywh, double picture_width, double picture_height);

/// Intersection over union, widths without +1. Negative widths are not repaired; 0 where the union is not
/// positive.
double box_iou(const Box& a, const Box& b);

/// Whether the centre of `box` lies in `target`, borders included.
bool centre_inside(const Box& box, const Box& target);

}  // namespace ropescope::eval
