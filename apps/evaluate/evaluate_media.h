// What a model makes of a benchmark's pictures and clips: in which numbers it writes boxes, which frames it gets, which subtitles
// are shown with them.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "ropescope/architectures/vlm_config.h"
#include "ropescope/eval/clips.h"
#include "ropescope/inputs/picture_reader.h"

#include "evaluate/evaluate_run.h"

namespace ropescope::app::evaluate {

/// In place of `auto` the scale of the model's family; of a model without eyes, which is asked without the pictures, that which
/// the question asks for.
void choose_boxes(const std::optional<VlmConfig>& vlm, EvaluateRun& run);

/// Tokens of the longest answer under the run's rules.
int64_t longest_answer(const EvaluateRun& run);

/// Gives each record what the rules read of the model's side: `box_scale` and, of boxes in pixels, `input_size`; with
/// --subtitles `subtitles`.
void complete_records(std::shared_ptr<const PictureReader> reader, std::optional<double> fps,
                      EvaluateRun& run);

/// Frames of a clip or a piece of one, by the family's rule or at `fps`, as its tower takes them. Null without a reader.
std::function<MediaItem(const eval::ClipPart& clip)> clip_reader(std::shared_ptr<const PictureReader> reader,
                                                                 std::optional<double> fps);

}  // namespace ropescope::app::evaluate
