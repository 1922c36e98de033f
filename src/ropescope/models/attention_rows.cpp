#include "ropescope/models/attention_rows.h"

#include <cmath>

#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/numbers.h"

namespace ropescope {

at::Tensor score_rows(const at::Tensor& q, const at::Tensor& k, const std::vector<int64_t>& query_index,
                      double scale) {
  for (const int64_t query : query_index) {
    if (query < 0 || query >= q.size(2)) {
      throw InputError("attention rows: expected queries 0 to {}, found {}", q.size(2) - 1, query);
    }
  }
  const int64_t heads = q.size(1), kv_heads = k.size(1), dim = q.size(3);
  const auto count = static_cast<int64_t>(query_index.size());
  const at::Tensor index = at::tensor(query_index, at::kLong).to(q.device());
  // All queries of a key/value head at once: [B, K, (H/K) n, D] x [B, K, D, S].
  const at::Tensor chosen =
      q.index_select(2, index).to(at::kFloat).reshape({q.size(0), kv_heads, heads / kv_heads * count, dim});
  return at::matmul(chosen, k.to(at::kFloat).transpose(2, 3))
      .mul(scale != 0 ? scale : 1.0 / std::sqrt(static_cast<double>(dim)))
      .view({q.size(0), heads, count, k.size(2)});
}

at::Tensor softmax_of_visible(const at::Tensor& scores, const at::Tensor& hidden) {
  // A row without keys is softmax of infinities: not a number, and by definition zero.
  return scores.masked_fill(hidden, kNegativeInfinity).softmax(-1).masked_fill(hidden, 0.0);
}

}  // namespace ropescope
