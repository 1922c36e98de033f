// Attention under a scheme's rule (rope/attention_rule.h): rings of CCA and PyPE, ALiBi. Mask and bias are made for a
// block of queries at a time, so memory grows with keys, not with queries times keys.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/rope/encoding.h"

namespace ropescope {

class BiasedAttentionPlan {
 public:
  /// `encoding` must have rules over the S keys; the T queries are the last `tokens` of them.
  BiasedAttentionPlan(const PassEncoding& encoding, int64_t tokens, at::ScalarType dtype, at::Device device);

  /// q [B, H, T, D], k and v [B, K, S, D] of `layer`. Returns [B, T, H*D]. Differentiable.
  at::Tensor attend(int64_t layer, const at::Tensor& q_BHTD, const at::Tensor& k_BKSD,
                    const at::Tensor& v_BKSD) const;

  /// Softmax rows of the queries `query_index` (of this pass) over all keys: float32 [B, H, n, S].
  at::Tensor rows(int64_t layer, const at::Tensor& q_BHTD, const at::Tensor& k_BKSD,
                  const std::vector<int64_t>& query_index) const;

 private:
  int64_t tokens_, keys_;
  PassEncoding encoding_;  // its rules are used
  at::ScalarType dtype_;
  at::Device device_;
};

}  // namespace ropescope
