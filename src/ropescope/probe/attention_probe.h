// Attention rows of chosen queries, layer by layer, beside a fused forward pass.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/models/decoder.h"
#include "ropescope/models/forward_run.h"
#include "ropescope/probe/attention_input.h"
#include "ropescope/rope/encoding.h"

namespace ropescope {

/// Ids of a greedy continuation, at most `tokens`; ends with the model's end token, which is left in.
std::vector<int64_t> continue_greedily(const Decoder& decoder, const AttentionInput& input,
                                       const SequenceEncoding& encoding, int64_t tokens);

/// The input with generated tokens behind it. Its layout stays that of the prompt: where generated tokens sit
/// is the scheme's own rule.
AttentionInput with_generated(const Decoder& decoder, const AttentionInput& input,
                              const std::vector<int64_t>& ids);

struct AttentionRowRequest {
  std::vector<int64_t> queries;  ///< token indices
  std::vector<bool> layers;      ///< [layers] of the model
  /// May be empty: as in AttentionRows, of the chosen layers after their rows.
  std::function<void(int64_t layer, const at::Tensor& k_BKSD, const AttentionRows::RowsOver& rows_over)>
      other_keys = {};
  /// May be empty: what enters a layer (0: the embeddings), [T, C], of every layer up to the last chosen one.
  std::function<void(int64_t layer, const at::Tensor& hidden_TC)> entering = {};
};

/// The pass that shows them, to be stepped through: it calls `sink` for every chosen layer in order with float32 rows
/// [H, queries, T] and ends with the last of them. Throws NumericsError for rows that are not finite.
std::unique_ptr<ForwardRun> attention_run(
    const Decoder& decoder, const AttentionInput& input, const SequenceEncoding& encoding,
    const AttentionRowRequest& request, std::function<void(int64_t layer, const at::Tensor& rows_HQS)> sink);

/// Calls `sink` for every chosen layer in order with float32 rows [H, queries, T]: the softmax over all keys
/// that the query may see, 0 elsewhere. One fused pass that ends with the last chosen layer; memory of a
/// layer grows with queries times keys. Throws NumericsError for rows that are not finite.
void visit_attention_rows(const Decoder& decoder, const AttentionInput& input,
                          const SequenceEncoding& encoding, const AttentionRowRequest& request,
                          const std::function<void(int64_t layer, const at::Tensor& rows_HQS)>& sink);

}  // namespace ropescope
