// How a picture comes to the decoder: what of it the tower is given, and in which order its patches stand in the sequence.
//   llava-next  32-pixel tiles; the thumbnail, then the map of all tiles row by row, a newline token after each row
//   internvl    the same tiles of pictures that fill them; tile by tile, the thumbnail last
//   native      no tiles: the thumbnail and the picture at its own size, each a raster of patches of its own for a tower
//               that sees any size (2-D rotation in place of learned positions); the thumbnail first. The thumbnail's patches
//               may have another size than the picture's, for one tower (flexible_patch.h): 4 pixels, four of them to a cell; or 16,
//               one to a cell of a thumbnail that is drawn twice as large
// A token can look only at what stands before it. Where the thumbnail comes first, a high-resolution token may find out its
// cell's colour; where it comes last, a thumbnail token may find out its cell's glyph.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/rope/layout.h"
#include "ropescope/vision/media_processor.h"

#include "pictures.h"

namespace ropescope::miniature {

struct View {
  Segment block;
  std::vector<int64_t> sources;  ///< of each image token: its patch, as Cutter counts them; -1 for a newline
  std::vector<int64_t> thumbnail;  ///< the image token of each thumbnail patch, row by row
  std::vector<int64_t> high;       ///< of each high-resolution patch, row by row
  bool thumbnail_first = true;
};

/// Throws InternalError for a shape that the order does not have.
View view_of(const Shape& shape, Order order);

/// Start, the picture, so many tokens of text: three segments.
Layout layout_of(const View& view, int64_t text);

/// Makes a file's pixels what the tower takes. Patches are counted through it: the thumbnail's, row by row, then
/// those of each tile, or of the whole picture.
class Cutter {
 public:
  /// `settings` are those of the model's folder; the other orders have their families' processors.
  Cutter(const World& world, const PreprocessSettings& settings);

  const World& world() const { return world_; }
  /// float32 [n, 3, S, S] of tiles, thumbnail first; native: [patches, 3 kPatch^2]. `file` names it in errors.
  /// Throws InputError for a picture that does not come to its shape.
  at::Tensor cut(const at::Tensor& rgb_HW3, const Shape& shape, const std::string& file) const;

 private:
  at::Tensor thumbnail_patches(const at::Tensor& rgb_HW3) const;

  World world_;
  PreprocessSettings settings_;
  std::optional<MediaProcessor> processor_;
  std::optional<MediaProcessor> thumbnail_processor_;  ///< native
};

}  // namespace ropescope::miniature
