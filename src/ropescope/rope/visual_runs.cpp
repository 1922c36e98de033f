#include "ropescope/rope/visual_runs.h"

namespace ropescope {

std::vector<VisualRun> visual_runs(const Layout& layout, const Positions& positions) {
  const double* t = positions.coordinates.const_data_ptr<double>();
  std::vector<VisualRun> runs;
  int64_t token = 0;
  bool open = false;
  for (const Segment& segment : layout.segments) {
    const int64_t tokens = segment.tokens();
    if (segment.kind == Segment::Kind::kText) {
      if (open && tokens > 0) runs.back().next = t[token];
      open = open && tokens == 0;
    } else {
      if (!open) {
        runs.push_back({{}, token, 0, std::nullopt, 0});
        if (token > 0) runs.back().before = t[token - 1];
      }
      open = true;
      runs.back().blocks.push_back({&segment, token});
      runs.back().tokens += tokens;
    }
    token += tokens;
  }
  if (open) runs.back().next = positions.next;
  return runs;
}

bool touches_cell(const Segment& block, int64_t row, int64_t column, int64_t cell) {
  // Token and cell as intervals of the picture, in units of 1 / (H0 H1) of its height and 1 / (W0 W1) of its
  // width.
  const auto touches = [](int64_t high, int64_t high_count, int64_t low, int64_t low_count) {
    return high * low_count < (low + 1) * high_count && low * high_count < (high + 1) * low_count;
  };
  return touches(row, block.high_h, cell / block.grid.w, block.grid.h) &&
         touches(column, block.high_w, cell % block.grid.w, block.grid.w);
}

std::vector<int64_t> own_cells(const Segment& block, ResizeRule rule) {
  const AlignedRaster assigned(block.grid, block.high_h, block.high_w, rule);
  const AlignedRaster nearest(block.grid, block.high_h, block.high_w, ResizeRule::kNearest);
  std::vector<int64_t> cells;
  cells.reserve(static_cast<size_t>(block.high_h * block.high_w));
  for (int64_t row = 0; row < block.high_h; ++row) {
    for (int64_t column = 0; column < block.high_w; ++column) {
      const int64_t cell = assigned.cell(row, column);
      cells.push_back(touches_cell(block, row, column, cell) ? cell : nearest.cell(row, column));
    }
  }
  return cells;
}

}  // namespace ropescope
