// Causal attention of one layer: the fused kernel, and rows of its softmax beside it.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ropescope {

/// [B, T, H*D] -> [B, H, T, D], a view.
at::Tensor split_heads(const at::Tensor& x_BTC, int64_t heads);

/// What a query that sees no key (padding on the left) takes from the attention. Real tokens are not
/// affected.
enum class BlindQuery {
  kZero,  ///< nothing
  kMean,  ///< the mean of all values, later ones included: what Hugging Face's finite mask comes to
};

/// Which keys each query may see; the same for all layers of a pass, so it is made once. Order is that of
/// tokens: positions never matter.
class AttentionPlan {
 public:
  /// T queries follow `past` tokens. `attention_mask`: undefined, or [B, past + T] with non-zero for real
  /// tokens. `segment_lengths`: empty, or lengths that sum to T (then batch 1, no past, no mask). `dtype`,
  /// `device`: of q. Throws InputError for shapes that do not fit.
  AttentionPlan(int64_t batch, int64_t tokens, int64_t past, const at::Tensor& attention_mask,
                std::vector<int64_t> segment_lengths, at::ScalarType dtype, at::Device device,
                BlindQuery blind_query = BlindQuery::kZero);

  /// q [B, H, T, D], k and v [B, K, S, D], H a multiple of K (query head h reads head floor(h / (H / K))).
  /// Returns [B, T, H*D].
  at::Tensor attend(const at::Tensor& q_BHTD, const at::Tensor& k_BKSD, const at::Tensor& v_BKSD) const;

  /// Softmax rows of the queries `query_index` (of this pass) over all keys: float32 [B, H, n, S], 0 where a
  /// key is not seen, and everywhere for a query that sees none.
  at::Tensor rows(const at::Tensor& q_BHTD, const at::Tensor& k_BKSD,
                  const std::vector<int64_t>& query_index) const;

 private:
  at::Tensor visible_rows(const std::vector<int64_t>& query_index) const;

  int64_t tokens_, past_;
  std::vector<int64_t> segment_lengths_;
  at::Tensor key_mask_;      // bool [B, S] or undefined: every key is real
  at::Tensor bias_;          // q's type, [B or 1, 1, T, S], 0 or -infinity; undefined: is_causal serves
  bool some_blind_ = false;  // under BlindQuery::kMean
  at::Device device_;
};

}  // namespace ropescope
