#include "ropescope/models/pass_attention.h"

#include <utility>

#include "ropescope/core/errors.h"

namespace ropescope {

PassAttention::PassAttention(const PassEncoding& encoding, AttentionPlan plain, int64_t tokens,
                             at::ScalarType dtype, at::Device device)
    : plain_(std::move(plain)) {
  if (!encoding.visual.empty()) pair_.emplace(encoding.visual, tokens, dtype, device);
  if (!encoding.rules.empty()) biased_.emplace(encoding, tokens, dtype, device);
}

void PassAttention::require_plain(int64_t layer, const at::Tensor& q, const at::Tensor& k,
                                  const ScoreRule& rule) const {
  if ((!pair_ && !biased_) || rule.is_plain(k.size(2), q.size(3))) return;
  throw UsageError(
      "layer {} has an attention of its own (a window, a soft cap, sinks or another scale): a scheme that changes the "
      "attention itself (dipe, cca, pype, alibi) has no meaning there. Try: a scheme that rotates only",
      layer);
}

at::Tensor PassAttention::attend(int64_t layer, const at::Tensor& q, const at::Tensor& q_cross,
                                 const at::Tensor& k, const at::Tensor& v, const ScoreRule& rule) const {
  require_plain(layer, q, k, rule);
  if (pair_) return pair_->attend(q, q_cross, k, v);
  if (biased_) return biased_->attend(layer, q, k, v);
  return plain_.attend(q, k, v, rule);
}

at::Tensor PassAttention::rows(int64_t layer, const at::Tensor& q, const at::Tensor& q_cross,
                               const at::Tensor& k, const std::vector<int64_t>& query_index,
                               const ScoreRule& rule) const {
  require_plain(layer, q, k, rule);
  if (pair_) return pair_->rows(q, q_cross, k, query_index);
  if (biased_) return biased_->rows(layer, q, k, query_index);
  return plain_.rows(q, k, query_index, rule);
}

}  // namespace ropescope
