// Autoregressive generation with a key/value cache.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/models/decoder.h"

namespace ropescope {

struct GenerateInput {
  at::Tensor input_ids;       ///< int64 [B, T]
  at::Tensor attention_mask;  ///< optional [B, T], non-zero = a real token; padding must be on the left
  /// Optional [axes, B or 1, T]. Of one axis, a generated token takes the last column + 1, + 2, ...; of three (M-RoPE), the
  /// largest id of its row of the prompt on any axis + 1, + 2, ... on all of them, as the rope delta of Qwen-VL says (which
  /// `generate` of transformers 5 does not follow where a clip's ids run past the text behind it). Without it each row counts
  /// its real tokens from 0.
  at::Tensor position_ids;
  /// In place of position_ids: the prompt's tokens under a scheme, the same for every row; generated tokens
  /// follow the scheme's own rule.
  const SequenceEncoding* encoding = nullptr;
  /// Optional [B, T, C], taken instead of the prompt's ids (their number of columns still counts).
  at::Tensor inputs_embeds = {};
  /// As in ForwardInput, of the whole prompt (a prefix included, which must not end inside a picture).
  at::Tensor groups = {};
  std::vector<AddedFeatures> added = {};
  /// Keys and values of the prompt's first tokens, from an earlier pass over them under the same positions;
  /// they are not computed again. [B, K, S, D], views that are expanded over B among them; not changed.
  const KvCache* prefix = nullptr;
  /// Shown the pass that ends with the prompt's last token; its tokens are those behind the prefix.
  const Taps* prompt_taps = nullptr;
};

struct GenerateOptions {
  int64_t max_new_tokens = 16;
  bool ignore_end = false;  ///< true: end-of-sequence is a token like others, every row gets max_new_tokens
  /// Chooses the next ids, int64 [B], from float32 logits [B, V]. Absent: the largest logit (greedy).
  std::function<at::Tensor(const at::Tensor& logits_BV)> choose;
};

struct Generation {
  at::Tensor ids;  ///< int64 [B, N] on the CPU, N <= max_new_tokens; after its end a row repeats it
  std::vector<int64_t> lengths;  ///< tokens of each row, its end token included
};

/// Under dynamic NTK every longer context has its own frequencies, so rotated keys cannot be kept: beyond the
/// trained length each step then runs the whole text again. Throws InputError for padding on the right, or a
/// prefix whose keys cannot be kept; NumericsError for logits that are not finite.
Generation generate(const Decoder& decoder, const GenerateInput& input, const GenerateOptions& options = {});

}  // namespace ropescope
