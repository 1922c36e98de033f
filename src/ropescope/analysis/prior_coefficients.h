// What the moments of a model say about logits, as numbers that every expected logit is linear in.
// Notation  h channel pairs that turn, in the layer that has most; C = 2h + 1; n heads that were measured and chosen
//   expected logit of displacement d (query minus key, d_i on the axis of pair i):
//     s^2 sum_i A_i cos(d_i f_i) - B_i sin(d_i f_i) + r,
//   A_i, B_i of mean_q and mean_k (decay_theory.h; 0 behind a layer's own pairs), r = mean_q . mean_k over channels that
//   do not turn, s the attention scale of the frequencies (YaRN).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/probe/samples.h"

namespace ropescope {

/// Layers that turn alike, see as many keys, and have one scale of scores.
struct PriorPart {
  LayerFacts facts;           ///< of each of them, with the base that is used
  std::vector<int64_t> rows;  ///< of PriorCoefficients, ascending
  at::Tensor turning,
      still;  ///< channels: of the pairs that turn, first halves then second, and the others; int64
  double score_scale = 1, logit_of_score = 1;  ///< score = score_scale * logit, and back

  int64_t pairs() const { return turning.size(0) / 2; }
};

struct PriorCoefficients {
  at::Tensor rows;                   ///< [n, C] float64: A, B, r of each head; layer-major
  std::vector<int64_t> layer, head;  ///< [n]: of the model
  std::vector<PriorPart> parts;      ///< every row is in one
  int64_t model_layers = 0, model_heads = 0, kv_heads = 0, head_dim = 0;
  int64_t texts = 0;  ///< whose moments serve intervals; 0: the file has none that would
  MomentSet moments;

  int64_t count() const { return rows.size(0); }
  int64_t pairs() const { return (rows.size(1) - 1) / 2; }
  /// The rows as they would be without one of the texts, [n, C].
  at::Tensor rows_without_text(int64_t text) const;
  /// Of a head, the key/value head that it reads.
  int64_t kv_head(size_t row) const { return head[row] / (model_heads / kv_heads); }
};

/// `facts`: one a layer. `layers`, `heads`: empty means all. A file that does not say its number of key/value heads has
/// one for each query head. Throws UsageError for layers or heads that the samples do not have, and for layers that
/// normalise q and k after the rotation (of which means say nothing); InputError where none of those chosen was measured
/// or the numbers of heads do not fit.
PriorCoefficients prior_coefficients(const Samples& samples, const std::vector<LayerFacts>& facts,
                                     const std::vector<int64_t>& layers, const std::vector<int64_t>& heads);

}  // namespace ropescope
