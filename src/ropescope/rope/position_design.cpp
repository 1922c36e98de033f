#include "ropescope/rope/position_design.h"

namespace ropescope {

CoordinateRows advanced(const CoordinateRows& rows, int64_t tokens, int64_t axes) {
  CoordinateRows moved{};
  for (size_t axis = 0; axis < static_cast<size_t>(axes); ++axis) moved[axis] = rows[axis] + tokens;
  return moved;
}

double PositionDesign::place_anyres(const Segment& block, double base, const CoordinateRows& rows) const {
  double next = place(block.grid, base, rows);
  const CoordinateRows rest = advanced(rows, block.grid.tokens(), axes());
  if (block.single_tile) {
    if (!block.newline) return next;
    for (size_t axis = 0; axis < static_cast<size_t>(axes()); ++axis) {
      rest[axis][0] = axis > 0 && text_spatial_zero() ? 0.0 : next;
    }
    return next + 1;
  }
  const Grid high{1, block.high_h, block.high_w + (block.newline ? 1 : 0)};
  return high.tokens() == 0 ? next : place(high, next, rest);
}

}  // namespace ropescope
