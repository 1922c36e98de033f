#include "ropescope/rope/position_design.h"

namespace ropescope {

std::vector<std::string> PositionDesign::row_names() const {
  return axes() == 1 ? std::vector<std::string>{"id"} : std::vector<std::string>{"t", "h", "w"};
}

double PositionDesign::place_text(int64_t tokens, double base, const CoordinateRows& rows) const {
  for (size_t axis = 0; axis < static_cast<size_t>(axes()); ++axis) {
    const bool zero = axis > 0 && text_spatial_zero();
    double* const row = rows[axis];
    for (int64_t i = 0; i < tokens; ++i) row[i] = zero ? 0.0 : base + static_cast<double>(i);
  }
  return base + static_cast<double>(tokens);
}

double PositionDesign::place_pieces(const Segment& block, double base, const CoordinateRows& rows,
                                    std::vector<double>& bases) const {
  CoordinateRows at = rows;
  double next = base;
  int64_t number = block.grid.number;
  for (const Piece& piece : block.pieces) {
    bases.push_back(next);
    Grid grid{1, piece.h, piece.w};
    grid.number = number;
    if (piece.is_grid()) ++number;
    next = piece.is_grid() ? place(grid, next, at) : place_text(piece.tokens, next, at);
    at = at.advanced(piece.tokens);
  }
  return next;
}

double PositionDesign::place_merged(const Segment& block, double base, const CoordinateRows& rows) const {
  const int64_t whole = block.grid.tokens();
  std::vector<double> unmerged(static_cast<size_t>(axes() * whole));
  const CoordinateRows from(unmerged.data(), whole, axes());
  const double next = place(block.grid, base, from);
  for (size_t axis = 0; axis < rows.size(); ++axis) {
    for (size_t token = 0; token < block.members.size(); ++token) {
      rows[axis][token] = from[axis][block.members[token].front()];
    }
  }
  return next;
}

double PositionDesign::place_anyres(const Segment& block, double base, const CoordinateRows& rows) const {
  double next = place(block.grid, base, rows);
  const CoordinateRows rest = rows.advanced(block.grid.tokens());
  if (block.single_tile) {
    return block.newline ? place_text(1, next, rest) : next;
  }
  Grid high{1, block.high_h, block.high_w + (block.newline ? 1 : 0)};
  high.number = block.grid.number + 1;
  return high.tokens() == 0 ? next : place(high, next, rest);
}

}  // namespace ropescope
