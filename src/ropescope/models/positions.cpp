// Rotary tables of plain, given and packed positions under a checkpoint's own settings.
#include <algorithm>

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>

#include "ropescope/core/errors.h"
#include "ropescope/models/decoder.h"

namespace ropescope {

namespace {

RotaryTable table(const DecoderConfig& config, const at::Tensor& ids, double sequence_length) {
  return make_rotary_table(
      ids, make_frequencies(config.rope, config.head_dim, config.max_position_embeddings, sequence_length));
}

}  // namespace

RotaryTable plain_rotary_table(const DecoderConfig& config, int64_t tokens, int64_t first) {
  const at::Tensor ids = at::arange(first, first + tokens, at::kDouble).view({1, 1, tokens});
  return table(config, ids, static_cast<double>(first + tokens));
}

RotaryTable rotary_table_for(const DecoderConfig& config, const at::Tensor& position_ids) {
  if (position_ids.numel() == 0) throw InputError("position ids: expected at least one, found none");
  return table(config, position_ids, position_ids.max().item<double>() + 1);
}

EncodedModel encoded_model(const DecoderConfig& config) {
  return {config.rope,
          config.head_dim,
          config.num_attention_heads,
          config.num_key_value_heads,
          config.num_hidden_layers,
          config.max_position_embeddings};
}

RotaryTable packed_rotary_table(const DecoderConfig& config, const std::vector<int64_t>& segment_lengths) {
  if (segment_lengths.empty()) throw InternalError("packed_rotary_table: expected at least one text");
  std::vector<at::Tensor> ids;
  int64_t longest = 0;
  for (const int64_t length : segment_lengths) {
    ids.push_back(at::arange(length, at::kDouble));
    longest = std::max(longest, length);
  }
  return table(config, at::cat(ids).view({1, 1, -1}), static_cast<double>(longest));
}

}  // namespace ropescope
