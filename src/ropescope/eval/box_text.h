// Boxes in the text of models that were trained to write them: JSON objects, lists, pairs of points, with or without a code
// fence. Numbers stay as they were written.
#pragma once

#include <optional>
#include <vector>

#include "ropescope/eval/boxes.h"

namespace ropescope::eval {

/// The first box of an answer, from its first opening bracket on: `{"bbox_2d": [n, n, n, n], "label": ...}`, also in a list,
/// in a fence, cut off behind the box; `[n, n, n, n]` and `[[n, n, n, n]]`; `(n, n), (n, n)`. Marks such as `<|box_start|>`
/// may stand around it. Four numbers count as a box only within one pair of square brackets or two pairs of round ones.
std::optional<Box> read_marked_box(TextView output);

/// All boxes of an answer as refcoco_grounding of lmms-eval 0.7.3 collects them: those of the JSON text that the answer or its
/// first fence is or holds, else any four numbers in a row.
std::vector<Box> harness_boxes(TextView output);

}  // namespace ropescope::eval
