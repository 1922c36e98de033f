#include "ropescope/models/pass_attention.h"

#include <utility>

namespace ropescope {

PassAttention::PassAttention(const PassEncoding& encoding, AttentionPlan plain, int64_t tokens,
                             at::ScalarType dtype, at::Device device)
    : plain_(std::move(plain)) {
  if (!encoding.visual.empty()) pair_.emplace(encoding.visual, tokens, dtype, device);
  if (!encoding.ids.empty()) biased_.emplace(encoding, tokens, dtype, device);
}

at::Tensor PassAttention::attend(int64_t layer, const at::Tensor& q, const at::Tensor& q_cross,
                                 const at::Tensor& k, const at::Tensor& v) const {
  if (pair_) return pair_->attend(q, q_cross, k, v);
  if (biased_) return biased_->attend(layer, q, k, v);
  return plain_.attend(q, k, v);
}

at::Tensor PassAttention::rows(int64_t layer, const at::Tensor& q, const at::Tensor& q_cross,
                               const at::Tensor& k, const std::vector<int64_t>& query_index) const {
  if (pair_) return pair_->rows(q, q_cross, k, query_index);
  if (biased_) return biased_->rows(layer, q, k, query_index);
  return plain_.rows(q, k, query_index);
}

}  // namespace ropescope
