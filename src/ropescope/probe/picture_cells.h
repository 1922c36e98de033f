// Which pixels of a picture each token of its grids shows.
#pragma once

#include "ropescope/probe/attention_input.h"
#include "ropescope/vision/media_plan.h"

namespace ropescope {

/// Size and cell maps of a picture as its plan says.
void set_cell_maps(AttendedPicture& picture, const MediaPlan& plan);

}  // namespace ropescope
