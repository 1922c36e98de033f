// What the moments of a model say about logits, as numbers that every expected logit is linear in.
// Notation  h rotated channels (half the rotary dimension), C = 2h + 1, n heads that were measured and chosen
//   expected logit of displacement d (query minus key, d_i on the axis of channel i):
//     s^2 sum_i A_i cos(d_i f_i) - B_i sin(d_i f_i) + r,
//   A_i, B_i of mean_q and mean_k (decay_theory.h), r = mean_q . mean_k over channels beyond the rotary
//   dimension, s the attention scale of the frequencies (YaRN).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/probe/samples.h"

namespace ropescope {

struct PriorCoefficients {
  at::Tensor rows;                   ///< [n, C] float64: A, B, r of each head; layer-major
  std::vector<int64_t> layer, head;  ///< [n]: of the model
  int64_t model_layers = 0, model_heads = 0, kv_heads = 0, head_dim = 0, rotary_dim = 0;
  int64_t texts = 0;  ///< whose moments serve intervals; 0: the file has none that would
  MomentSet moments;

  int64_t count() const { return rows.size(0); }
  /// The rows as they would be without one of the texts, [n, C].
  at::Tensor rows_without_text(int64_t text) const;
  /// Of a head, the key/value head that it reads.
  int64_t kv_head(size_t row) const { return head[row] / (model_heads / kv_heads); }
};

/// `layers`, `heads`: empty means all. A file that does not say its number of key/value heads has one for
/// each query head. Throws UsageError for layers or heads that the samples do not have, InputError where none
/// of those chosen was measured or the numbers of heads do not fit.
PriorCoefficients prior_coefficients(const Samples& samples, int64_t rotary_dim,
                                     const std::vector<int64_t>& layers, const std::vector<int64_t>& heads);

}  // namespace ropescope
