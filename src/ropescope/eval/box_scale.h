// In which numbers a model writes the corners of a box. An answer does not say it: a scale is named, or follows from the
// model's family, and stands in run.json, summary.json and every record that was asked.
#pragma once

#include <string>

namespace ropescope::eval {

enum class BoxScale {
  kAuto,      ///< evaluate: that of the model's family; score: that of the record's `box_scale`, else kUnit
  kUnit,      ///< shares of the picture's width and height, as the question asks for them (LLaVA)
  kPixels,    ///< pixels of the picture as the model saw it, after its processor's resize (Qwen2.5-VL)
  kThousand,  ///< thousandths of the picture's width and height (Qwen2-VL, Qwen3-VL, GLM-4V, InternVL)
  /// refcoco_grounding of lmms-eval 0.7.3: each box of the answer is tried as pixels of the file's picture and as
  /// thousandths, and the one counts that fits the truth best. An upper bound, which knows the answer.
  kBetter,
};

/// "auto", "unit", "pixels", "thousand", "better". Throws UsageError.
BoxScale parse_box_scale(const std::string& text);
std::string box_scale_name(BoxScale scale);

/// What a family of vision-language models ("qwen2_5_vl") was trained to write; kUnit, which the question asks for, where
/// nothing else is published.
BoxScale box_scale_of_family(const std::string& family);

}  // namespace ropescope::eval
