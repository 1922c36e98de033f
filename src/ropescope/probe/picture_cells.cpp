#include "ropescope/probe/picture_cells.h"

namespace ropescope {

void set_cell_maps(AttendedPicture& picture, const MediaPlan& plan) {
  picture.width = plan.size_wh[0];
  picture.height = plan.size_wh[1];
  picture.whole = plan.cells;
  picture.high.reset();
  if (plan.high_cells.width > 0) picture.high = plan.high_cells;
}

}  // namespace ropescope
