#include "ropescope/rope/position_design.h"

namespace ropescope {

CoordinateRows advanced(const CoordinateRows& rows, int64_t tokens, int64_t axes) {
  CoordinateRows moved{};
  for (size_t axis = 0; axis < static_cast<size_t>(axes); ++axis) moved[axis] = rows[axis] + tokens;
  return moved;
}

double PositionDesign::place_text(int64_t tokens, double base, const CoordinateRows& rows) const {
  for (size_t axis = 0; axis < static_cast<size_t>(axes()); ++axis) {
    const bool zero = axis > 0 && text_spatial_zero();
    for (int64_t i = 0; i < tokens; ++i) rows[axis][i] = zero ? 0.0 : base + static_cast<double>(i);
  }
  return base + static_cast<double>(tokens);
}

double PositionDesign::place_pieces(const Segment& block, double base, const CoordinateRows& rows,
                                    std::vector<double>& bases) const {
  CoordinateRows at = rows;
  double next = base;
  for (const Piece& piece : block.pieces) {
    bases.push_back(next);
    next = piece.is_grid() ? place({1, piece.h, piece.w}, next, at) : place_text(piece.tokens, next, at);
    at = advanced(at, piece.tokens, axes());
  }
  return next;
}

double PositionDesign::place_anyres(const Segment& block, double base, const CoordinateRows& rows) const {
  double next = place(block.grid, base, rows);
  const CoordinateRows rest = advanced(rows, block.grid.tokens(), axes());
  if (block.single_tile) {
    return block.newline ? place_text(1, next, rest) : next;
  }
  const Grid high{1, block.high_h, block.high_w + (block.newline ? 1 : 0)};
  return high.tokens() == 0 ? next : place(high, next, rest);
}

}  // namespace ropescope
