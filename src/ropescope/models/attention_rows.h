// Rows of a softmax written out, in float32: what probes look at, since fused kernels never form them.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ropescope {

/// scale q k^T (0: 1 / sqrt(D)) of the queries `query_index` over all keys, float32 [B, H, n, S]. q: [B, H, T, D],
/// k: [B, K, S, D], H a multiple of K. Throws InputError for a query that is not there.
at::Tensor score_rows(const at::Tensor& q_BHTD, const at::Tensor& k_BKSD,
                      const std::vector<int64_t>& query_index, double scale = 0);

/// Softmax over the keys that are not `hidden` (bool, broadcast to the scores), 0 where a key is, and
/// everywhere in a row that sees none.
at::Tensor softmax_of_visible(const at::Tensor& scores, const at::Tensor& hidden);

}  // namespace ropescope
