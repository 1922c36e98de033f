// Attention whose mask or bias depends on ids: rings of CCA and PyPE, ALiBi. The bias is made for a block of
// queries at a time, so memory grows with keys, not with queries times keys.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/rope/encoding.h"

namespace ropescope {

class BiasedAttentionPlan {
 public:
  /// `encoding` must have ids for the S keys, and raster or slopes; the T queries are the last `tokens` of
  /// them.
  BiasedAttentionPlan(const PassEncoding& encoding, int64_t tokens, at::ScalarType dtype, at::Device device);

  /// q [B, H, T, D], k and v [B, K, S, D] of `layer`. Returns [B, T, H*D]. Differentiable.
  at::Tensor attend(int64_t layer, const at::Tensor& q_BHTD, const at::Tensor& k_BKSD,
                    const at::Tensor& v_BKSD) const;

  /// Softmax rows of the queries `query_index` (of this pass) over all keys: float32 [B, H, n, S].
  at::Tensor rows(int64_t layer, const at::Tensor& q_BHTD, const at::Tensor& k_BKSD,
                  const std::vector<int64_t>& query_index) const;

 private:
  /// Bool [n, S]: keys that these queries (token indices among the keys) do not see.
  at::Tensor hidden(int64_t layer, const at::Tensor& query_index) const;
  /// Float32 [H, n, S], or undefined without slopes.
  at::Tensor bias(int64_t layer, const at::Tensor& query_index) const;

  int64_t tokens_, keys_;
  PassEncoding encoding_;  // its ids and raster are used
  at::Tensor slopes_;      // float64 [H, 1, 1], or undefined
  at::ScalarType dtype_;
  at::Device device_;
};

}  // namespace ropescope
