#include "ropescope/rope/attention_rule.h"

#include <utility>

#include <ATen/ops/arange.h>

namespace ropescope {

at::Tensor AttentionRule::hidden(const at::Tensor& queries) const {
  return at::arange(keys_, queries.options()).unsqueeze(0).gt(queries.unsqueeze(1));
}

RingRule::RingRule(at::Tensor rank, at::Tensor raster)
    : AttentionRule(rank.size(0)), rank_(rank.contiguous()), raster_(raster.contiguous()) {}

bool RingRule::sees(int64_t query, int64_t key) const {
  const auto* raster = raster_.const_data_ptr<int32_t>();
  if (raster[query] < 0 || raster[query] != raster[key]) return key <= query;
  const auto* rank = rank_.const_data_ptr<double>();
  return rank[key] <= rank[query];
}

at::Tensor RingRule::hidden(const at::Tensor& queries) const {
  const at::Tensor later = AttentionRule::hidden(queries);
  const at::Tensor mine = raster_.index_select(0, queries).unsqueeze(1);
  const at::Tensor together = raster_.unsqueeze(0).eq(mine).logical_and(mine.ge(0));
  const at::Tensor outer = rank_.unsqueeze(0).gt(rank_.index_select(0, queries).unsqueeze(1));
  return later.logical_and(together.logical_not()).logical_or_(outer.logical_and(together));
}

std::shared_ptr<const AttentionRule> RingRule::to(at::Device device) const {
  return std::make_shared<RingRule>(rank_.to(device), raster_.to(device));
}

}  // namespace ropescope
