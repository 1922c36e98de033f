#include "ropescope/probe/picture_cells.h"

namespace ropescope {

void set_cell_maps(AttendedPicture& picture, const AnyresGeometry& geometry) {
  picture.whole.reset();
  picture.high.reset();
  if (!geometry.feat_offset_rc) return;
  // 0: columns, 1: rows. A patch of the padded picture, in pixels of the picture as it came.
  std::array<double, 2> offset{}, step{};
  for (size_t axis = 0; axis < 2; ++axis) {
    const auto size = static_cast<double>(axis == 0 ? picture.width : picture.height);
    const size_t other = 1 - axis;  // rows stand first in HW and rc
    const double scale = static_cast<double>(geometry.resized_wh[axis]) / size;
    const double patch =
        static_cast<double>(geometry.best_wh[axis]) / static_cast<double>(geometry.feat_full_HW[other]);
    const double first = static_cast<double>((*geometry.feat_offset_rc)[other]) * patch;
    offset[axis] = (first - static_cast<double>(geometry.pad_ltrb[axis])) / scale;
    step[axis] = patch / scale;
  }
  picture.high = CellMap{offset[0], offset[1], step[0], step[1]};
}

}  // namespace ropescope
