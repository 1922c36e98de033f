// How a picture or a clip becomes tokens of a vision-language model: which runs of placeholder tokens stand for it, in
// which grids, with which text between them. Pure geometry: no pixels, no weights. Made by a MediaProcessor
// (media_processor.h). Sizes ending in `_wh` are (width, height), in `_hw` (height, width), of pixels; grids are
// rows x columns of tokens.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/core/json.h"
#include "ropescope/vision/anyres.h"

namespace ropescope {

enum class MediaKind { kImage, kVideo };

/// One run of consecutive placeholder tokens.
struct MediaRun {
  /// What its grid shows: the picture, with nothing finer beside it; the picture, with tiles beside it; a part of the
  /// stitched high-resolution grid (anyres: all of it); frames of a clip.
  enum class Role { kWhole, kThumbnail, kTile, kFrames };

  Role role = Role::kWhole;
  int64_t tokens = 0;           ///< t h w + newlines
  int64_t t = 1, h = 0, w = 0;  ///< its grid
  int64_t row = 0, column = 0;  ///< of a tile: where its grid begins in the stitched grid
  int64_t newlines = 0;         ///< newline tokens among `tokens`: h (after each row) or 1 (at the end)
  int64_t lead = 0, tail = 0;   ///< separator tokens just before and after it that belong to a tile
  std::string before;           ///< text between the previous run (or the beginning) and this one
};

/// Which pixels of the picture as it came a cell of a grid shows: cell (r, c) begins at left + c width, top + r height.
/// Where a cell looks beyond the picture, the tower sees padding.
struct CellMap {
  double left = 0.0, top = 0.0;
  double width = 0.0, height = 0.0;
};

struct MediaPlan {
  MediaKind kind = MediaKind::kImage;
  std::array<int64_t, 2> size_wh{};  ///< as it came
  int64_t frames = 1;                ///< of a clip: frames kept
  std::vector<MediaRun> runs;        ///< in the order of the sequence
  std::string after;                 ///< text after the last run
  std::string placeholder;           ///< the token that is written `tokens` times a run

  std::array<int64_t, 2> thumbnail_hw{};  ///< of a tiled picture: the thumbnail's grid, in tokens; else 0
  std::array<int64_t, 2> high_hw{};       ///< and the stitched grid of its tiles
  CellMap cells;                          ///< of the whole picture's, the thumbnail's or a frame's grid
  CellMap high_cells;                     ///< of the stitched grid

  /// The picture after each resize, pixels. The last entry is what is cut into patches or tiles.
  std::vector<std::array<int64_t, 2>> resized_hw;
  std::array<int64_t, 3> grid_thw{};         ///< native resolution: frame groups x rows x columns of PATCHES
  std::array<int64_t, 2> tiles_rows_cols{};  ///< of tiled pictures
  int64_t tiles = 0;                         ///< squares that the tower gets, the thumbnail too; 0: native
  std::array<int64_t, 2> crop_top_left{};    ///< llava: first row and column of the centre crop
  bool square = false;                       ///< padded to a square with the mean colour first
  std::vector<std::array<int64_t, 4>> crops_tlhw;  ///< gemma3: top, left, height, width of each crop, pixels
  std::optional<AnyresGeometry> anyres;            ///< llava_onevision, llava_next: before the map is shrunk

  double second_per_grid = 0.0;  ///< of a clip: seconds from one group of frames to the next
  std::vector<double> seconds;   ///< of a clip: when each group of frames is shown, as its timestamp says

  /// All placeholder tokens.
  int64_t tokens() const;
  int64_t newline_tokens() const;
};

/// The plan of LLaVA's anyres: the thumbnail, then the whole map of features, row by row, a newline token after each row.
/// `map_hw`: the map after shrinking (LLaVA-NeXT: feat_H1W1); `tile`: pixels. `placeholder` stays empty.
MediaPlan anyres_plan(const AnyresGeometry& geometry, const std::array<int64_t, 2>& map_hw, int64_t tile);

const char* media_role_name(MediaRun::Role role);

}  // namespace ropescope
