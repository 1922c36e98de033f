// Which tiles of a processor's `pixel_values` are one picture, and where they lie on it: families that give tiles alone
// (InternVL, Idefics3, SmolVLM, Gemma 3, LLaVA 1.5).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/models/media_prompt.h"
#include "ropescope/text/tokenizer.h"
#include "ropescope/vision/media_processor.h"

namespace ropescope {

/// A picture as its tokens show it.
struct TokenPicture {
  int64_t tiles = 1;  ///< of pixel_values, the whole picture's among them
  bool whole_first = false;
  /// Rows and columns of its tiles that the tokens allow; {0, 0}: not tiled. Several: the pixels have to tell.
  std::vector<std::array<int64_t, 2>> grids;
};

/// The pictures of expanded ids, in order. InternVL's tiles follow each other, Idefics writes the row and the column of each
/// before it, Gemma puts words between a picture and its crops. Throws InputError for runs of placeholders that are no
/// tiles.
std::vector<TokenPicture> tiled_pictures(const at::Tensor& input_ids, const MediaMarks& marks,
                                         const MediaProcessor& processor, const Tokenizer& tokenizer);

/// Rows and columns of a picture's tiles: the only grid that the tokens allow, else the one under which the tiles, side by
/// side and made smaller, resemble the whole picture, which is said on stderr; none where no grid does so clearly.
/// `pixels` [tiles, 3, S, S].
std::optional<std::array<int64_t, 2>> placed_tiles(const TokenPicture& picture, const at::Tensor& pixels);

/// Tiles of which nothing says where they lie: one grid after the other.
MediaPlan side_by_side(int64_t tiles, const MediaSettings& settings);

}  // namespace ropescope
