// Causal attention whose query rotation depends on the pair of modalities (DIPE, arXiv 2603.10863): text on
// text and visual on visual, even of different images, take one rotation of the query, text on visual and
// visual on text the other. Scores
//   S_ij = (modality_i == modality_j ? q_same_i : q_cross_i) . k_j / sqrt(D),  j <= i, one softmax a row.
// Computed exactly by fused kernels, block by block (pair_blocks.h), with memory in proportion to the tokens
// and nearly the time of one fused causal attention, forward and backward.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/models/attention.h"

namespace ropescope {

struct PairBlocks;

/// Which query rotation meets which key; the same for all layers of a pass, so it is made once. Order is that
/// of tokens: positions never matter.
class PairAttentionPlan {
 public:
  /// `visual`: one flag for each of S keys, 0 for text; the T queries of the pass are the last `tokens` of
  /// them, the keys before come from a cache. All rows of a batch have this layout; padding is not offered.
  /// `dtype`, `device`: of q. Throws InputError unless 1 <= T <= S.
  PairAttentionPlan(std::vector<uint8_t> visual, int64_t tokens, at::ScalarType dtype, at::Device device);

  /// q_same (for keys of the query's modality) and q_cross (for the others) [B, H, T, D], k and v
  /// [B, K, S, D], H a multiple of K (query head h reads head floor(h / (H / K))). Returns [B, T, H*D], once
  /// differentiable. Types: float32, bfloat16, float16, and float64 on a CPU. Throws InputError for shapes
  /// that do not fit.
  at::Tensor attend(const at::Tensor& q_same_BHTD, const at::Tensor& q_cross_BHTD, const at::Tensor& k_BKSD,
                    const at::Tensor& v_BKSD) const;

  /// Softmax rows of the queries `query_index` (of this pass) over all keys: float32 [B, H, n, S], 0 where a
  /// key is not seen.
  at::Tensor rows(const at::Tensor& q_same_BHTD, const at::Tensor& q_cross_BHTD, const at::Tensor& k_BKSD,
                  const std::vector<int64_t>& query_index) const;

 private:
  void check(const at::Tensor& q_same, const at::Tensor& q_cross, const at::Tensor& k) const;
  at::Tensor hidden_rows(const std::vector<int64_t>& query_index) const;
  at::Tensor crossing_rows(const std::vector<int64_t>& query_index) const;

  int64_t tokens_, past_;
  at::Tensor visual_;                         // bool [S]
  std::optional<AttentionPlan> plain_;        // one modality
  at::Tensor bias_;                           // else, few queries: [2 T, S], q_same's rows, then q_cross's
  std::shared_ptr<const PairBlocks> blocks_;  // else
};

}  // namespace ropescope
