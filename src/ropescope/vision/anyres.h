// LLaVA-NeXT's anyres: which grid of tiles an image gets, where it lies in the grid, and which of the grid's
// features stay. Pure geometry, no pixels. Source: LLaVA-NeXT (Liu et al., January 2024), `spatial_unpad`.
// Sizes ending in `_wh` are (width, height); `_hw` and `HW` are (height, width) = (rows, columns).
//
//   image --resize--> resized --pad black--> best (one of the pinpoints) --cut--> tiles of S x S
//   one tile -> g x g features, g = S / patch (integer division); the mosaic of all tiles -> feat_full
//   feat_full --cut off the padding's rows or columns--> feat (H1 x W1), each row followed by a newline token
//   tokens = g*g (thumbnail) + H1*W1 + H1
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/core/json.h"

namespace ropescope {

/// How a checkpoint's list of pinpoints is read, and how the padding's features are counted.
/// kHf: (height, width), kept size int(round(x, 7)); kOriginal: (width, height), kept size int(x). The usual
/// lists are their own transposes, so only the order of equal candidates differs: 0.6 % of all image sizes.
enum class PinpointRule { kHf, kOriginal };

/// "hf" or "original". Throws UsageError.
PinpointRule parse_pinpoint_rule(const std::string& text);
std::string pinpoint_rule_name(PinpointRule rule);

struct AnyresOptions {
  std::vector<std::array<int64_t, 2>> pinpoints;  ///< as the checkpoint lists them, pixels; see `rule`
  PinpointRule rule = PinpointRule::kHf;
  int64_t tile_size = 336;  ///< S, pixels
  int64_t patch_size = 14;  ///< of the vision tower, pixels
  bool newline = true;      ///< a newline token ends each high-resolution row
};

struct AnyresGeometry {
  std::array<int64_t, 2> size_wh{};          ///< the image
  std::array<int64_t, 2> best_wh{};          ///< the chosen grid, pixels
  std::array<int64_t, 2> tiles_cols_rows{};  ///< of the grid; the thumbnail is one tile more
  std::array<int64_t, 2> resized_wh{};       ///< the image inside the grid
  std::array<int64_t, 4> pad_ltrb{};         ///< left, top, right, bottom; an odd pixel goes right or bottom
  std::array<int64_t, 2> thumbnail_HW{};     ///< g, g
  std::array<int64_t, 2> feat_full_HW{};     ///< features of the whole mosaic
  std::array<int64_t, 2> feat_H1W1{};        ///< features kept; either may be 0 for extreme shapes
  std::optional<std::array<int64_t, 2>> feat_offset_rc;  ///< first row and column kept; none if nothing is
  int64_t tokens = 0;
  bool newline = true;
};

/// CLIP's (tile 336) or SigLIP's (tile 384) five pinpoints in the published order: (1,2) (2,1) (2,2) (3,1)
/// (1,3) tiles.
std::vector<std::array<int64_t, 2>> default_pinpoints(int64_t tile_size);

/// A checkpoint's `image_grid_pinpoints`: a list of pairs, or a string holding one. `what` names it in
/// errors. Throws InputError.
std::vector<std::array<int64_t, 2>> parse_pinpoints(const Json& list, const std::string& what);

/// Throws InputError if there is no pinpoint, one is not a positive multiple of the tile in both directions
/// or larger than 2^28 pixels, or the patch is not in 1..tile.
void check_anyres_options(const AnyresOptions& options, const std::string& what);

/// Throws InputError if the width or height is not in 1..2^31-1, or as check_anyres_options does.
AnyresGeometry anyres_geometry(int64_t width, int64_t height, const AnyresOptions& options);

/// The object that `ropescope preprocess --json` prints.
Json to_json(const AnyresGeometry& geometry);

}  // namespace ropescope
