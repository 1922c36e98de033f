#include "ropescope/rope/visual_runs.h"

#include <algorithm>

#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

class RunMaker {
 public:
  explicit RunMaker(const Positions& positions)
      : t_(positions.coordinates.const_data_ptr<double>()), next_(positions.next) {}

  void add_text(int64_t tokens) {
    if (open_ && tokens > 0) runs_.back().next = t_[token_];
    open_ = open_ && tokens == 0;
    token_ += tokens;
  }

  /// Tokens of a picture; `visual` of them are of a visual modality.
  void add_visual(int64_t tokens, int64_t visual) {
    if (!open_) {
      runs_.push_back({});
      runs_.back().first = token_;
      if (token_ > 0) runs_.back().before = t_[token_ - 1];
    }
    open_ = true;
    runs_.back().tokens += tokens;
    runs_.back().visual += visual;
    token_ += tokens;
  }

  void add(const Segment& segment) {
    if (segment.kind == Segment::Kind::kText) return add_text(segment.text);
    const VisualBlock block{&segment, token_};
    bool noted = false;
    const auto note = [&] {
      if (!noted) runs_.back().blocks.push_back(block);
      noted = true;
    };
    if (segment.pieces.empty()) {
      add_visual(segment.tokens(), segment.tokens());
      note();
    }
    for (const Piece& piece : segment.pieces) {
      if (piece.role == Piece::Role::kText) {
        add_text(piece.tokens);
        continue;
      }
      add_visual(piece.tokens, piece.is_grid() ? piece.tokens : 0);
      note();
    }
  }

  std::vector<VisualRun> take() {
    if (open_) runs_.back().next = next_;
    return std::move(runs_);
  }

 private:
  const double* t_;
  double next_;
  std::vector<VisualRun> runs_;
  int64_t token_ = 0;
  bool open_ = false;
};

}  // namespace

std::vector<VisualRun> visual_runs(const Layout& layout, const Positions& positions) {
  RunMaker maker(positions);
  for (const Segment& segment : layout.segments) maker.add(segment);
  return maker.take();
}

const VisualRun& run_of(const std::vector<VisualRun>& runs, int64_t token) {
  const auto behind = std::upper_bound(runs.begin(), runs.end(), token,
                                       [](int64_t at, const VisualRun& run) { return at < run.first; });
  if (behind == runs.begin() || token >= (behind - 1)->end()) {
    throw InternalError("token {} is of no visual run", token);
  }
  return *(behind - 1);
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

std::vector<int64_t> own_cells(const Segment& block, const Alignment& alignment) {
  const AlignedRaster assigned(block.grid, block.high_h, block.high_w, alignment);
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
