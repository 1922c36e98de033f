// Prompts of different lengths in one batch: what they share, then padding, then the rest of each.
#pragma once

#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/rope/encoding.h"

namespace ropescope::eval {

struct PaddedRows {
  at::Tensor input_ids;       ///< int64 [B, T]
  at::Tensor attention_mask;  ///< int64 [B, T]; undefined without padding
  at::Tensor position_ids;    ///< float64 [1, B, T]
};

/// `positions` [1, tokens] of each row; the first `common` tokens of all rows are equal.
PaddedRows pad_rows(const std::vector<const std::vector<int64_t>*>& ids,
                    const std::vector<at::Tensor>& positions, int64_t common);

/// A scheme's positions as ids [1, tokens], float64, where it does nothing but give each token an id on one
/// axis, one step apart behind the prompt; none where rows of different lengths cannot share a pass under it.
std::optional<at::Tensor> plain_positions(const SequenceEncoding& encoding, const DecoderConfig& config);

/// 0, 1, ..., [1, tokens].
at::Tensor counted_positions(int64_t tokens);

}  // namespace ropescope::eval
