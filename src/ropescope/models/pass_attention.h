// The attention of one pass of the decoder: plain causal, or what the pass's encoding asks for.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/models/attention.h"
#include "ropescope/models/biased_attention.h"
#include "ropescope/models/pair_attention.h"

namespace ropescope {

class PassAttention {
 public:
  /// As the encoding says; plain causal where it asks for nothing. The last `tokens` keys are this pass's.
  PassAttention(const PassEncoding& encoding, AttentionPlan plain, int64_t tokens, at::ScalarType dtype,
                at::Device device);

  /// q [B, H, T, D]; q_cross the same under the anchored table under DIPE, else undefined; k and v
  /// [B, K, S, D]. Returns [B, T, H*D].
  /// `rule`: what the layer does to scores; where the encoding changes the attention it must be plain (InputError).
  at::Tensor attend(int64_t layer, const at::Tensor& q, const at::Tensor& q_cross, const at::Tensor& k,
                    const at::Tensor& v, const ScoreRule& rule) const;
  /// Float32 softmax rows of chosen queries, [B, H, n, S].
  at::Tensor rows(int64_t layer, const at::Tensor& q, const at::Tensor& q_cross, const at::Tensor& k,
                  const std::vector<int64_t>& query_index, const ScoreRule& rule) const;

 private:
  void require_plain(int64_t layer, const at::Tensor& q, const at::Tensor& k, const ScoreRule& rule) const;

  AttentionPlan plain_;
  std::optional<PairAttentionPlan> pair_;
  std::optional<BiasedAttentionPlan> biased_;
};

}  // namespace ropescope
