// ID-Align, arXiv 2505.21465, Algorithm 1 and Appendix B.
#include "ropescope/rope/id_align.h"

#include <algorithm>
#include <cmath>

#include "ropescope/core/errors.h"
#include "ropescope/rope/schemes/id_align_design.h"
#include "ropescope/rope/schemes/registry.h"
#include "ropescope/rope/tiled_block.h"

namespace ropescope {

namespace {

enum class NewlineRule { kInherit, kCounted, kShared, kInPlace };

class IdAlignDesign : public DesignModifier {
 public:
  IdAlignDesign(std::shared_ptr<const PositionDesign> inner, const Alignment& alignment, NewlineRule newline)
      : DesignModifier(std::move(inner)), alignment_(alignment), newline_(newline) {}

  std::optional<Alignment> alignment() const override { return alignment_; }

  double place_anyres(const Segment& block, double base, const CoordinateRows& rows) const override {
    if (block.single_tile) return DesignModifier::place_anyres(block, base, rows);
    const bool in_place = newline_ == NewlineRule::kInPlace;
    double next = in_place ? inner_->place_anyres(block, base, rows) : inner_->place(block.grid, base, rows);
    const AlignedRaster raster(block.grid, block.high_h, block.high_w, alignment_);
    const int64_t thumbnail = block.grid.tokens();
    if (block.newline && newline_ == NewlineRule::kCounted) next = count_newlines(block, next, rows);
    if (block.newline && newline_ == NewlineRule::kShared) share_newline(block, next, rows);
    for (size_t axis = 0; axis < rows.size(); ++axis) {
      double* const ids = rows[axis];
      int64_t token = thumbnail;
      for (int64_t row = 0; row < block.high_h; ++row) {
        for (int64_t column = 0; column < block.high_w; ++column)
          ids[token++] = ids[raster.cell(row, column)];
        if (!block.newline) continue;
        if (newline_ == NewlineRule::kInherit) ids[token] = ids[raster.last_cell_of_row(row)];
        ++token;
      }
    }
    const bool shared = newline_ == NewlineRule::kShared && block.newline && block.high_h > 0;
    return shared ? next + 1 : next;
  }

  // Numbers first, then copies: the thumbnail may stand behind the tokens that take its ids.
  double place_pieces(const Segment& block, double base, const CoordinateRows& rows,
                      std::vector<double>& bases) const override {
    const double next = newline_ == NewlineRule::kInPlace ? inner_->place_pieces(block, base, rows, bases)
                                                          : number(block, base, rows, bases);
    const BlockTokens tokens(block);
    const AlignedRaster raster(block.grid, block.high_h, block.high_w, alignment_);
    int64_t token = 0;
    for (const Piece& piece : block.pieces) {
      if (piece.role == Piece::Role::kTile) {
        for (int64_t cell = 0; cell < piece.tokens; ++cell) {
          const int64_t row = piece.row + cell / piece.w, column = piece.column + cell % piece.w;
          inherit(rows, token + cell, tokens.thumbnail(raster.cell(row, column)));
        }
      }
      token += piece.tokens;
    }
    if (newline_ == NewlineRule::kInherit) inherit_separators(block, rows);
    return next;
  }

 protected:
  std::shared_ptr<const PositionDesign> with_inner(
      std::shared_ptr<const PositionDesign> inner) const override {
    return std::make_shared<IdAlignDesign>(std::move(inner), alignment_, newline_);
  }

 private:
  static void inherit(const CoordinateRows& rows, int64_t token, int64_t from) {
    for (size_t axis = 0; axis < rows.size(); ++axis) rows[axis][token] = rows[axis][from];
  }

  static int64_t newline_of(const Segment& block, int64_t row) {
    return block.grid.tokens() + row * (block.high_w + 1) + block.high_w;
  }

  double count_newlines(const Segment& block, double next, const CoordinateRows& rows) const {
    for (int64_t row = 0; row < block.high_h; ++row) {
      next = place_text(1, next, rows.advanced(newline_of(block, row)));
    }
    return next;
  }

  void share_newline(const Segment& block, double next, const CoordinateRows& rows) const {
    for (int64_t row = 0; row < block.high_h; ++row) {
      place_text(1, next, rows.advanced(newline_of(block, row)));
    }
  }

  // Thumbnail, text and, where they count, separators, one after the other; tiles take no ids.
  double number(const Segment& block, double base, const CoordinateRows& rows,
                std::vector<double>& bases) const {
    CoordinateRows at = rows;
    double next = base;
    for (const Piece& piece : block.pieces) {
      bases.push_back(next);
      if (piece.is_separator() && newline_ == NewlineRule::kShared) {
        throw UsageError(
            "scheme id-align: newline=shared is for newline tokens; expected inherit, counted or in_place for "
            "a picture with separators between its tiles");
      }
      if (piece.role == Piece::Role::kThumbnail) {
        next = inner_->place(block.grid, next, at);
      } else if (piece.role == Piece::Role::kText ||
                 (piece.is_separator() && newline_ == NewlineRule::kCounted)) {
        next = place_text(piece.tokens, next, at);
      }
      at = at.advanced(piece.tokens);
    }
    return next;
  }

  // A separator in front of a tile is placed with the tile's first token, one behind it with its last.
  void inherit_separators(const Segment& block, const CoordinateRows& rows) const {
    const std::vector<Piece>& pieces = block.pieces;
    int64_t token = 0, last = 0;
    for (const Piece& piece : pieces) {
      if (piece.role == Piece::Role::kAfter) {
        for (int64_t i = 0; i < piece.tokens; ++i) inherit(rows, token + i, last);
      }
      token += piece.tokens;
      if (piece.role == Piece::Role::kTile) last = token - 1;
    }
    int64_t first = 0;
    for (auto piece = pieces.rbegin(); piece != pieces.rend(); ++piece) {
      token -= piece->tokens;
      if (piece->role == Piece::Role::kTile) first = token;
      if (piece->role != Piece::Role::kBefore) continue;
      for (int64_t i = 0; i < piece->tokens; ++i) inherit(rows, token + i, first);
    }
  }

  Alignment alignment_;
  NewlineRule newline_;
};

NewlineRule newline_rule(const std::string& name) {
  if (name == "counted") return NewlineRule::kCounted;
  if (name == "shared") return NewlineRule::kShared;
  return name == "in_place" ? NewlineRule::kInPlace : NewlineRule::kInherit;
}

}  // namespace

std::shared_ptr<const PositionDesign> make_id_align_design(const Parameters& parameters,
                                                           std::shared_ptr<const PositionDesign> inner,
                                                           const Alignment& alignment) {
  if (inner->aligned()) {
    throw UsageError(
        "scheme {}: the high-resolution tokens have the ids of their thumbnail already; name one of id-align and "
        "rope-dhr",
        parameters.scheme());
  }
  if (inner->moves_views()) {
    throw UsageError(
        "scheme {0}: inherited ids would undo panorope's moves; expected {0}+panorope, in this order",
        parameters.scheme());
  }
  const std::string newline = parameters.choice("newline", {"inherit", "counted", "in_place", "shared"});
  return std::make_shared<IdAlignDesign>(std::move(inner), alignment, newline_rule(newline));
}

extern const SchemeDefinition kIdAlign = {
    "id-align",
    "high-resolution tokens take the ids of their thumbnail token; text goes on after the thumbnail",
    "ID-Align, arXiv 2505.21465",
    {{"resize", "nearest",
      "how a high-resolution token finds its thumbnail token: nearest, nearest-exact, bilinear, or dhr and "
      "dhr-column (CoMemo's rounding, for whole tiles of the thumbnail's size)"},
     {"newline", "inherit",
      "ids of newline tokens and of separators between tiles: inherit (of the token before or behind them), "
      "counted (one each), in_place (all but high-resolution tokens stay where the base has them), shared (one "
      "a picture, newlines only)"},
     {"wrong", "none",
      "cells that are wrong on purpose: shift-n (columns), mirror, quarter-turn, shuffle-rows, shuffle, random-n "
      "(percent of the tokens)"},
     {"wrong_seed", "0", "seed of the shuffles and of random-n"}},
    nullptr,
    [](const Parameters& parameters,
       std::shared_ptr<const PositionDesign> inner) -> std::shared_ptr<const PositionDesign> {
      const ResizeRule resize = parse_resize_rule(parameters.choice("resize", resize_rule_names()));
      if (parameters.has("wrong_seed") && !parameters.has("wrong")) {
        parameters.refuse("wrong_seed", "wrong=shuffle, shuffle-rows or random-n beside it");
      }
      const WrongCells wrong = parse_wrong_cells(
          parameters.text("wrong", "none"), static_cast<uint64_t>(parameters.integer("wrong_seed", 0, 0)));
      return make_id_align_design(parameters, std::move(inner), {resize, wrong});
    },
    "vanilla",
    {}};

}  // namespace ropescope
