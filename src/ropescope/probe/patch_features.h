// Visual embeddings for a language model that was never trained on images: patches of a real picture through
// a fixed random projection. They carry the picture's statistics (neighbours are alike, thumbnail and
// high-resolution tokens of one place too) but no meaning, so that only effects of position may be read from
// what a model does with them.
//   patch    P x P x 3 pixels of the grid's cell (the picture squeezed to P columns x P rows a cell), as CLIP
//            normalises them
//   feature  projection of the patch [3 P^2] -> [C], entries normal(0, 1) from the seed, then scaled to the
//   mean
//            norm of the embedding table's rows
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/probe/attention_input.h"

namespace ropescope {

/// Pixels a side of a cell's patch (P).
inline constexpr int64_t kPatchSide = 4;

/// Embeddings of all tokens, [1, T, C] float32 on the CPU: of text tokens the table's rows, of visual tokens
/// the features above, picture i for visual block i (the last picture for further blocks; every frame of a
/// video shows it). Newline tokens share one random vector of that norm, as do words and separators between
/// tiles whose input_ids are no token of the table. Without any picture a patch is
/// normal(0, 1).
at::Tensor patch_embeddings(const AttentionInput& input, const at::Tensor& embed_tokens_VC, uint64_t seed);

}  // namespace ropescope
