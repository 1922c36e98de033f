// Pictures whose tiles stand in the sequence one by one: how such a block is made, checked, and written as
// text; and where the cells of its two grids lie.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/rope/layout.h"

namespace ropescope {

/// A block in words: rows x columns tiles, row by row, each h x w tokens, and the thumbnail before or behind
/// them. The counts are tokens.
///   InternVL            {grid, rows, columns}                                   tiles, thumbnail
///   Idefics3, SmolVLM   before = 2, row_end = 1, gap = 2, end = 1               tiles, thumbnail
///   Gemma 3's crops     tiles_first = false, before = 2, between = 1, after = 2, gap = 13
struct TiledPicture {
  Grid thumbnail;
  int64_t rows = 1, columns = 1;
  int64_t tile_h = 0, tile_w = 0;  ///< 0: as the thumbnail
  bool tiles_first = true;
  int64_t before = 0;   ///< separators in front of each tile
  int64_t between = 0;  ///< so many more from the second tile on
  int64_t after = 0;    ///< separators behind each tile
  int64_t row_end = 0;  ///< separators behind each row of tiles
  int64_t gap = 0;      ///< text between the tiles and the thumbnail
  int64_t end = 0;      ///< text behind the last grid
};

/// Throws InputError for sizes that no block has.
Segment tiled_segment(const TiledPicture& tiling);

/// The block in words; none where its pieces follow no such rule.
std::optional<TiledPicture> tiling_of(const Segment& block);

/// Empty when the pieces make a block, else what was expected: exactly one thumbnail of the block's grid,
/// tiles that cover the high-resolution grid without overlap, a tile behind each kBefore and before each kAfter.
std::string pieces_fault(const Segment& block);

/// The pieces as text: "before2/tile0.0.16.16/thumbnail". Read: nothing for another form.
std::string pieces_text(const std::vector<Piece>& pieces);
std::optional<std::vector<Piece>> parse_pieces(const std::string& text, const Grid& thumbnail);

/// "tile" and so on; nothing for another word.
std::string role_name(Piece::Role role);
std::optional<Piece::Role> role_of(const std::string& name);

/// Indices of the tokens of an anyres block's cells, counted from its first token, whatever their order.
/// Memory grows with the high-resolution tokens of a block with pieces; without pieces it is constant.
class BlockTokens {
 public:
  /// Throws InternalError for pieces that make no block. `block` is not kept.
  explicit BlockTokens(const Segment& block);

  /// Of thumbnail cell y W0 + x.
  int64_t thumbnail(int64_t cell) const { return thumbnail_ + cell; }
  int64_t high(int64_t row, int64_t column) const {
    return stitched_.empty() ? high_ + row * stride_ + column
                             : stitched_[static_cast<size_t>(row * columns_ + column)];
  }
  /// Behind the last token that belongs to a grid.
  int64_t grids_end() const { return grids_end_; }

 private:
  int64_t thumbnail_ = 0, high_ = 0, stride_ = 0, columns_ = 0, grids_end_ = 0;
  std::vector<int64_t> stitched_;
};

}  // namespace ropescope
