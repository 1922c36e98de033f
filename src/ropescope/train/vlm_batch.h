// Rows with pictures that go through the model together.
// Rows are padded on the right. Attention is causal, so no real token sees padding and none is masked; every
// row keeps the positions of its own layout. Or they are packed: one after the other in one sequence, without padding, each
// seeing itself alone. (Pictures go through the tower without padding either way.)
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/rope/encoding.h"
#include "ropescope/train/vlm_model.h"

namespace ropescope {

struct VlmBatch {
  MediaPrompt prompt;
  std::vector<MediaItem> items;  ///< of all rows, in order
  at::Tensor labels;             ///< int64 [B, T]; kIgnoredLabel = no target
  PassEncoding encoding;
  std::vector<int64_t> segment_lengths = {};  ///< of packed rows, B being 1; empty: padded
};

/// Whether rows of different layouts can go together: not under schemes that change the attention itself, nor
/// where frequencies depend on the length (dynamic NTK).
bool mixes_layouts(const DecoderConfig& config, const std::optional<Scheme>& scheme);

/// Indices of rows that go together, longest rows first. Padding is kept below a fifth of a batch; where
/// layouts cannot be mixed, rows of a batch have the same one. `packing`: where they can, all go together.
std::vector<std::vector<size_t>> group_rows(const std::vector<VlmRow>& rows, const Vlm& vlm,
                                            const std::optional<Scheme>& scheme, bool packing = false);

/// Positions are those of `scheme`, else the checkpoint's own. Throws InputError where pictures and placeholders do not match.
VlmBatch batch_rows(const std::vector<VlmRow>& rows, const std::vector<size_t>& chosen, const Vlm& vlm,
                    const std::optional<Scheme>& scheme);

/// The same rows, packed; only where layouts can be mixed.
VlmBatch packed_rows(const VlmBatch& padded, const std::vector<int64_t>& lengths);

/// Tokens of a row with its pictures.
int64_t expanded_length(const VlmRow& row, const MediaMarks& marks);

/// Cuts a row to at most `longest` tokens (pictures included; 0: never). A picture that does not fit whole goes,
/// with all that follows: nothing after it could be a target.
void cut_row(VlmRow& row, int64_t longest, const MediaMarks& marks);

}  // namespace ropescope
