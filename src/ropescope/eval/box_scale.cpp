#include "ropescope/eval/box_scale.h"

#include <array>
#include <utility>

#include "ropescope/core/errors.h"

namespace ropescope::eval {

namespace {

constexpr std::array<std::pair<const char*, BoxScale>, 5> kScaleNames = {{{"auto", BoxScale::kAuto},
                                                                          {"unit", BoxScale::kUnit},
                                                                          {"pixels", BoxScale::kPixels},
                                                                          {"thousand", BoxScale::kThousand},
                                                                          {"better", BoxScale::kBetter}}};

}  // namespace

BoxScale parse_box_scale(const std::string& text) {
  for (const auto& [name, scale] : kScaleNames) {
    if (text == name) return scale;
  }
  throw UsageError("--boxes: expected auto, unit, pixels, thousand or better, found \"{}\"", text);
}

std::string box_scale_name(BoxScale scale) {
  for (const auto& [name, known] : kScaleNames) {
    if (known == scale) return name;
  }
  throw InternalError("a scale of boxes without a name");
}

BoxScale box_scale_of_family(const std::string& family) {
  if (family == "qwen2_5_vl") return BoxScale::kPixels;
  for (const char* thousandths : {"qwen2_vl", "qwen3_vl", "qwen3_5", "glm4v", "internvl"}) {
    if (family == thousandths) return BoxScale::kThousand;
  }
  return BoxScale::kUnit;
}

}  // namespace ropescope::eval
