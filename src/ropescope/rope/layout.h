// What a sequence is made of, before any position is given: runs of text and visual blocks.
// Grid sizes are counted after spatial merging: one grid cell is one token of the decoder.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ropescope/core/json.h"

namespace ropescope {

/// What a token shows. The values are those of /positions/modality in result files.
enum class Modality : uint8_t { kText = 0, kImage = 1, kHighRes = 2, kNewline = 3, kVideo = 4 };

inline bool is_visual(Modality modality) { return modality != Modality::kText; }

/// t frames of h rows of w tokens; token order is (frame, row, column), column fastest.
struct Grid {
  int64_t t = 1, h = 0, w = 0;
  /// Ids from one frame to the next as the clip's checkpoint counts them (Qwen2.5-VL: tokens a second times
  /// seconds between frame pairs, a float32 product); designs with a time axis use it in place of their own
  /// temporal_stride, and cut the product of step and frame where they cut that. 0: their own.
  double step = 0;
  /// Which raster of its sequence the first frame is, from 0, as Positions::raster counts; set where a layout is placed.
  int64_t number = 0;
  int64_t tokens() const { return t * h * w; }
};

/// A run of tokens of a picture that is laid out in another order than thumbnail and raster: a grid, or what
/// stands between grids.
struct Piece {
  enum class Role : uint8_t {
    kThumbnail,  ///< the block's `grid`
    kTile,       ///< h rows of w tokens
    kBefore,     ///< separators in front of the next tile (tags, marks of an image's begin)
    kAfter,      ///< separators behind the last tile (newlines of a row of tiles, marks of an image's end)
    kText        ///< words inside the block; in every respect text
  };
  Role role = Role::kText;
  int64_t tokens = 0;
  int64_t row = 0, column = 0;  ///< of a tile: its upper left cell in the high-resolution grid
  int64_t h = 0, w = 0;         ///< of a grid: its rows and columns

  bool is_grid() const { return role == Role::kThumbnail || role == Role::kTile; }
  bool is_separator() const { return role == Role::kBefore || role == Role::kAfter; }
  bool operator==(const Piece&) const = default;
};

/// What is left of a picture's tokens after merging: one token a cluster, with the places of its members.
using Members = std::vector<std::vector<int64_t>>;

/// One part of a layout. An anyres block is a picture shown twice. Without `pieces` (LLaVA-NeXT): a thumbnail
/// grid, then the high-resolution grid row by row, each row closed by a newline token where `newline` is set;
/// a picture whose size needs no tiles has `single_tile` set: the thumbnail and one newline token. With
/// `pieces` (InternVL, Idefics, Gemma's crops; made by tiled_segment of tiled_block.h): those, in the order of
/// the sequence, the tiles' grids making up the high-resolution grid; `newline` is then false. Of a merged block, an
/// image or a clip of `grid`, one token a list of `members` is in the sequence.
struct Segment {
  enum class Kind { kText, kImage, kVideo, kAnyres, kMerged };
  Kind kind = Kind::kText;
  int64_t text = 0;                ///< tokens of a text run
  Grid grid;                       ///< image, video, or the thumbnail of an anyres block
  int64_t high_h = 0, high_w = 0;  ///< high-resolution rows and columns (unpadded); 0 is legal
  bool newline = true;
  bool single_tile = false;
  std::vector<Piece> pieces = {};  ///< anyres: empty, or exactly one thumbnail and tiles that cover the grid
  Members members =
      {};  ///< merged: of each token, indices of tokens of `grid`, the weightiest first; none empty

  int64_t newline_tokens() const {
    if (kind != Kind::kAnyres || !newline) return 0;
    return single_tile ? 1 : high_h;
  }
  int64_t tokens() const {
    if (kind == Kind::kText) return text;
    if (kind == Kind::kMerged) return static_cast<int64_t>(members.size());
    return pieces.empty() ? grid.tokens() + high_h * high_w + newline_tokens() : piece_tokens();
  }

 private:
  int64_t piece_tokens() const {
    int64_t sum = 0;
    for (const Piece& piece : pieces) sum += piece.tokens;
    return sum;
  }
};

struct Layout {
  std::string name;
  std::vector<Segment> segments;
  int64_t tokens() const;
};

/// Most tokens that a layout may have (2^26): a guard against sizes that come from a damaged file.
inline constexpr int64_t kMostLayoutTokens = int64_t{1} << 26;

/// "text:5,image:4x6,video:3x4x6,anyres:24x24+48x48,text:7".
///   video:3x4x6:step=2.5                       Grid::step
///   anyres:24x24+48x48:no-newline              no newline tokens; anyres:24x24: no high-resolution tiles
///   anyres:16x16+32x48:tiles-first             tile by tile, tiles of 16x16 row by row, then the thumbnail
///   anyres:16x16+16x32:thumbnail-first         the thumbnail, then tile by tile
///     either with  :before=2 :between=1 :after=2 :row=1 :gap=2 :end=1  (TiledPicture of tiled_block.h), or else
///     :pieces=before2/tile0.0.16.16/thumbnail/text3  as they come (a tile's row, column, rows, columns)
///   merged:4x6:members=15.11/7/0               a picture (merged:1x4x6 too, or a clip) of which one token a list is left
///   tiles:2x3x16x16,thumbnail:16x16            tiles-first: 2 rows of 3 tiles of 16x16; also the other way
/// Throws UsageError naming the part that it cannot read.
Layout parse_layout(const std::string& text);

/// A list of segments {"text":n}, {"image":{"t":1,"h":4,"w":6}}, {"video":{"t":3,"h":4,"w":6,"step":2.5}},
/// {"anyres":{"h0":24,"w0":24,"h1":48,"w1":48,"newline":true}}; or {"layouts":[{"name":...,"segments":[...]},
/// ...]}; or one such object. Of an anyres block also "order":"tiles-first" or "thumbnail-first" with
/// "before", "between", "after", "row", "gap", "end", or "pieces":[["before",2],["tile",0,0,16,16],
/// ["thumbnail"],["text",3]]; {"merged":{"t":1,"h":4,"w":6,"members":[[15,11],[7],[0]]}}. `what` names the file in errors. Throws InputError.
std::vector<Layout> layouts_from_json(const Json& json, const std::string& what);

/// The text form of a layout, which parse_layout reads back.
std::string layout_text(const Layout& layout);

}  // namespace ropescope
