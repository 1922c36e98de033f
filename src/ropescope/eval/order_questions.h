// Questions about the order of one-colour pictures and pieces of text (after DIPE, arXiv 2603.10863, whose test of order
// this is; the wording is our own): 3 or 4 of them in a row (3 of 5 questions) or 5 to 7, what stands between two?
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "ropescope/core/json.h"

namespace ropescope::eval {

struct OrderColour {
  const char* name;
  std::array<uint8_t, 3> rgb;
};
inline constexpr std::array<OrderColour, 8> kOrderColours = {{{"red", {255, 0, 0}},
                                                              {"blue", {0, 0, 255}},
                                                              {"black", {0, 0, 0}},
                                                              {"green", {0, 255, 0}},
                                                              {"yellow", {255, 255, 0}},
                                                              {"purple", {128, 0, 128}},
                                                              {"orange", {255, 165, 0}},
                                                              {"grey", {128, 128, 128}}}};

/// The file of a colour's picture.
std::string order_picture_file(const std::string& colour);

/// Question number `index` of a seed: {"id", "question" with <image> for every picture, "answer" A to D, "tag"
/// easy_image | easy_text | hard_image | hard_text, "images": files in the order of their marks}. It depends on these two
/// numbers only.
Json order_question(uint64_t seed, int64_t index);

}  // namespace ropescope::eval
