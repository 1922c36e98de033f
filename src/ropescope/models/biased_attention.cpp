#include "ropescope/models/biased_attention.h"

#include <algorithm>
#include <optional>

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/numbers.h"
#include "ropescope/models/attention_rows.h"

namespace ropescope {

namespace {

constexpr int64_t kQueriesOfBlock = 256;

}  // namespace

BiasedAttentionPlan::BiasedAttentionPlan(const PassEncoding& encoding, int64_t tokens, at::ScalarType dtype,
                                         at::Device device)
    : tokens_(tokens),
      keys_(encoding.rules.front()->keys()),
      encoding_(encoding.to(device)),
      dtype_(dtype),
      device_(device) {}

at::Tensor BiasedAttentionPlan::attend(int64_t layer, const at::Tensor& q, const at::Tensor& k,
                                       const at::Tensor& v) const {
  const bool grouped = q.size(1) != k.size(1);
  const AttentionRule& rule = encoding_.rule_of(layer);
  std::vector<at::Tensor> parts;
  for (int64_t first = 0; first < tokens_; first += kQueriesOfBlock) {
    const int64_t count = std::min(kQueriesOfBlock, tokens_ - first), offset = keys_ - tokens_ + first;
    const at::Tensor index = at::arange(offset, offset + count, at::TensorOptions(at::kLong).device(device_));
    const at::Tensor unseen = rule.hidden(index);
    at::Tensor mask = rule.bias(index);
    if (!mask.defined()) mask = at::zeros(unseen.sizes(), at::TensorOptions(at::kFloat).device(device_));
    mask = mask.masked_fill(unseen, kNegativeInfinity).to(dtype_);
    while (mask.dim() < 4) mask = mask.unsqueeze(0);
    parts.push_back(at::scaled_dot_product_attention(q.narrow(2, first, count), k, v, mask, /*dropout_p=*/0.0,
                                                     /*is_causal=*/false, /*scale=*/std::nullopt,
                                                     /*enable_gqa=*/grouped)
                        .transpose(1, 2)
                        .flatten(2));
  }
  return parts.size() == 1 ? parts[0] : at::cat(parts, 1);
}

at::Tensor BiasedAttentionPlan::rows(int64_t layer, const at::Tensor& q, const at::Tensor& k,
                                     const std::vector<int64_t>& query_index) const {
  at::Tensor scores = score_rows(q, k, query_index);
  const at::Tensor index = at::tensor(query_index, at::kLong).to(device_).add(keys_ - tokens_);
  const AttentionRule& rule = encoding_.rule_of(layer);
  if (const at::Tensor extra = rule.bias(index); extra.defined()) scores = scores.add(extra);
  return softmax_of_visible(scores, rule.hidden(index));
}

}  // namespace ropescope
