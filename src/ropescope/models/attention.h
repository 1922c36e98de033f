// Causal attention of one layer: the fused kernel, and rows of its softmax beside it.
//   out = softmax(mask(c tanh(s q k^T / c)), sink) v
// s the scale, c a soft cap (0: none), sink one logit a head without a value (absent: none).
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

/// What a layer does to scores beyond causal order.
struct ScoreRule {
  double scale = 0;    ///< of q k; 0: 1 / sqrt(head_dim)
  double softcap = 0;  ///< 0: none
  int64_t window = 0;  ///< a query sees its last so many keys, itself included; 0: all
  int64_t chunk =
      0;  ///< a query sees the keys of its own chunk, counted from a row's first real token; 0: all
  at::Tensor sinks;  ///< [H]; undefined: none

  /// Of queries [.., D].
  double scale_of(int64_t head_dim) const;
  /// Whether `keys` keys are seen as without window and chunk.
  bool sees_all(int64_t keys) const {
    return (window == 0 || window >= keys) && (chunk == 0 || chunk >= keys);
  }
  /// Whether schemes that change the attention itself can take over: nothing but a window that hides nothing.
  bool is_plain(int64_t keys, int64_t head_dim) const;
};

/// Which keys each query may see; the same for all layers of a pass but for their windows, so it is made once.
/// Order is that of tokens: positions never matter.
class AttentionPlan {
 public:
  /// T queries follow `past` tokens. `attention_mask`: undefined, or [B, past + T] with non-zero for real
  /// tokens. `segment_lengths`: empty, or lengths that sum to T (then batch 1, no past, no mask). `dtype`,
  /// `device`: of q. `groups`: undefined, or integers [B, T]: tokens of one number (not -1) see later ones
  /// of it too, within one packed text; a window bounds earlier ones only. Throws InputError for shapes that do not fit.
  AttentionPlan(int64_t batch, int64_t tokens, int64_t past, const at::Tensor& attention_mask,
                std::vector<int64_t> segment_lengths, at::ScalarType dtype, at::Device device,
                BlindQuery blind_query = BlindQuery::kZero, const at::Tensor& groups = {});

  /// q [B, H, T, D], k [B, K, S, D] and v [B, K, S, E], H a multiple of K (query head h reads head
  /// floor(h / (H / K))). The keys are the last S of past + T; those that are left out must be out of every window.
  /// Returns [B, T, H*E]. Memory grows with T, never with T times S.
  at::Tensor attend(const at::Tensor& q_BHTD, const at::Tensor& k_BKSD, const at::Tensor& v_BKSE,
                    const ScoreRule& rule = {}) const;

  /// Softmax rows of the queries `query_index` (of this pass) over past + T keys: float32 [B, H, n, past + T], 0 where
  /// a key is not seen, and everywhere for a query that sees none. A sink's share is left out.
  at::Tensor rows(const at::Tensor& q_BHTD, const at::Tensor& k_BKSD, const std::vector<int64_t>& query_index,
                  const ScoreRule& rule = {}) const;

 private:
  at::Tensor visible(const at::Tensor& query, int64_t first_key, int64_t keys, const ScoreRule& rule) const;
  void take_groups(const at::Tensor& groups, int64_t batch);
  int64_t last_seen(int64_t first, int64_t count) const;
  at::Tensor visible_rows(const std::vector<int64_t>& query_index) const;
  at::Tensor attend_in_blocks(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const ScoreRule& rule) const;
  int64_t first_seen(int64_t query, const ScoreRule& rule) const;

  int64_t tokens_, past_;
  std::vector<int64_t> segment_lengths_;
  std::vector<int64_t> segment_start_;  // of each token of this pass; empty: one segment
  at::Tensor groups_;                   // int64 [B, S], -1: none; undefined: nobody has one
  std::vector<int64_t> reach_;  // of each token of this pass: the last one that it sees; empty: itself
  at::Tensor key_mask_;         // bool [B, S] or undefined: every key is real
  at::Tensor first_real_;       // int64 [B, 1]: leading padding; undefined: none
  at::Tensor bias_;             // q's type, [B or 1, 1, T, S], 0 or -infinity; undefined: is_causal serves
  bool some_blind_ = false;     // under BlindQuery::kMean
  BlindQuery blind_query_;
  at::Device device_;
};

}  // namespace ropescope
