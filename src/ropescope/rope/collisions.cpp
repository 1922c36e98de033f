#include "ropescope/rope/collisions.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "ropescope/rope/tiled_block.h"

namespace ropescope {

namespace {

/// Coordinates nearer than this are one: no channel turns by more than this many radians between them.
constexpr double kSamePosition = 1e-6;

using SamePlace = std::function<bool(int64_t, int64_t)>;

// A separator that inherits a tile token's place belongs to that token's cell; else it is text.
void note_pieces(const VisualBlock& block, const std::vector<int64_t>& own, const SamePlace& same_place,
                 std::vector<int64_t>& cells) {
  const Segment& segment = *block.segment;
  const BlockTokens tokens(segment);
  for (int64_t i = 0; i < segment.high_h * segment.high_w; ++i) {
    const int64_t token = block.first + tokens.high(i / segment.high_w, i % segment.high_w);
    cells[static_cast<size_t>(token)] = block.first + tokens.thumbnail(own[static_cast<size_t>(i)]);
  }
  const auto join = [&](int64_t first, int64_t count, int64_t tile_token) {
    for (int64_t token = first; token < first + count; ++token) {
      if (!same_place(token, tile_token)) continue;
      cells[static_cast<size_t>(token)] = cells[static_cast<size_t>(tile_token)];
    }
  };
  int64_t token = block.first, last = -1, waiting = -1;
  for (const Piece& piece : segment.pieces) {
    if (piece.role == Piece::Role::kBefore && waiting < 0) waiting = token;
    if (piece.role == Piece::Role::kAfter) join(token, piece.tokens, last);
    if (piece.role == Piece::Role::kTile) {
      if (waiting >= 0) join(waiting, token - waiting, token);
      waiting = -1;
      last = token + piece.tokens - 1;
    }
    token += piece.tokens;
  }
}

/// Tokens by their coordinates on the used axes, in steps of kSamePosition, and by their cell.
class Places {
 public:
  explicit Places(const UsedAxes& used) : used_(used) {}

  void append(const at::Tensor& coordinates, const uint8_t* modality, const std::vector<int64_t>& cells) {
    const RowPointers rows = row_pointers(coordinates);
    for (int64_t token = 0; token < coordinates.size(1); ++token) {
      for (const size_t axis : used_.all) at_.push_back(std::llround(rows[axis][token] / kSamePosition));
      const bool visual = modality != nullptr && modality[token] != 0;
      cell_.push_back(visual ? cells[static_cast<size_t>(token)] : -1);
    }
  }

  void sort() {
    order_.resize(cell_.size());
    std::iota(order_.begin(), order_.end(), size_t{0});
    std::sort(order_.begin(), order_.end(), [&](size_t a, size_t b) {
      const int order = compare(a, b);
      return order != 0 ? order < 0 : cell_[a] < cell_[b];
    });
  }

  // In the order of sort().
  size_t size() const { return order_.size(); }
  bool same_place(size_t i, size_t j) const { return compare(order_[i], order_[j]) == 0; }
  /// -1 for text.
  int64_t cell(size_t i) const { return cell_[order_[i]]; }

 private:
  int compare(size_t a, size_t b) const {
    const size_t width = used_.all.size();
    const int64_t* const of_a = at_.data() + a * width;
    const int64_t* const of_b = at_.data() + b * width;
    for (size_t i = 0; i < width; ++i) {
      if (of_a[i] != of_b[i]) return of_a[i] < of_b[i] ? -1 : 1;
    }
    return 0;
  }

  const UsedAxes& used_;
  std::vector<int64_t> at_, cell_;
  std::vector<size_t> order_;
};

int64_t pairs(int64_t count) { return count * (count - 1) / 2; }

}  // namespace

RowPointers row_pointers(const at::Tensor& coordinates) {
  RowPointers rows;
  for (int64_t axis = 0; axis < coordinates.size(0); ++axis) {
    rows.push_back(coordinates.const_data_ptr<double>() + axis * coordinates.size(1));
  }
  return rows;
}

std::vector<int64_t> intended_cells(const Scheme& scheme, const std::vector<VisualRun>& runs,
                                    const Positions& positions) {
  std::vector<int64_t> cells(static_cast<size_t>(positions.tokens()));
  for (size_t token = 0; token < cells.size(); ++token) cells[token] = static_cast<int64_t>(token);
  if (!scheme.alignment()) return cells;
  const RowPointers rows = row_pointers(positions.coordinates);
  const auto same_place = [&](int64_t a, int64_t b) {
    return std::all_of(rows.begin(), rows.end(), [&](const double* row) { return row[a] == row[b]; });
  };
  for (const VisualRun& run : runs) {
    for (const VisualBlock& block : run.blocks) {
      const Segment& segment = *block.segment;
      if (segment.kind != Segment::Kind::kAnyres || segment.single_tile) continue;
      const std::vector<int64_t> own = own_cells(segment, *scheme.alignment());
      if (!segment.pieces.empty()) {
        note_pieces(block, own, same_place, cells);
        continue;
      }
      int64_t token = block.first + segment.grid.tokens();
      const int64_t first_newline = token + segment.high_w;
      for (int64_t row = 0; row < segment.high_h; ++row) {
        for (int64_t column = 0; column < segment.high_w; ++column, ++token) {
          cells[static_cast<size_t>(token)] =
              block.first + own[static_cast<size_t>(row * segment.high_w + column)];
        }
        if (!segment.newline) continue;
        // A newline inherits the cell of its row's last token, or is of the picture's newlines.
        const bool inherits = segment.high_w > 0 && same_place(token, token - 1);
        cells[static_cast<size_t>(token)] = inherits ? cells[static_cast<size_t>(token - 1)] : first_newline;
        ++token;
      }
    }
  }
  return cells;
}

std::vector<uint8_t> judged_modality(const Positions& positions, const std::vector<int64_t>& cells) {
  const uint8_t* from = positions.modality.const_data_ptr<uint8_t>();
  std::vector<uint8_t> kinds(from, from + positions.tokens());
  for (size_t token = 0; token < kinds.size(); ++token) {
    const bool joined = cells[token] != static_cast<int64_t>(token);
    if (kinds[token] == 0 && joined) kinds[token] = static_cast<uint8_t>(Modality::kNewline);
  }
  return kinds;
}

Collisions count_collisions(const Positions& positions, const at::Tensor& generated, const UsedAxes& used,
                            const std::vector<uint8_t>& kinds, const std::vector<int64_t>& cells) {
  Places places(used);
  places.append(positions.coordinates, kinds.data(), cells);
  places.append(generated, nullptr, {});
  places.sort();
  Collisions collisions;
  for (size_t begin = 0; begin < places.size();) {
    size_t end = begin;
    int64_t text = 0, visual = 0, intended = 0;
    while (end < places.size() && places.same_place(end, begin)) {
      const size_t first_of_cell = end;
      while (end < places.size() && places.same_place(end, begin) &&
             places.cell(end) == places.cell(first_of_cell)) {
        ++end;
      }
      const auto count = static_cast<int64_t>(end - first_of_cell);
      if (places.cell(first_of_cell) < 0) {
        text = count;
      } else {
        visual += count;
        intended += pairs(count);
      }
    }
    collisions.visual_text += text * visual;
    collisions.visual_visual += pairs(visual) - intended;
    begin = end;
  }
  return collisions;
}

}  // namespace ropescope
