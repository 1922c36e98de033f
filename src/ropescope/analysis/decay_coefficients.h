// From samples to the numbers that every decay curve is linear in.
// Notation  h = head_dim/2; a coefficient row (A_0..A_{h-1}, B_0..B_{h-1}) [2h] evaluates to one curve
//           L layers, H query heads, G parts of the model that turn alike (DecayLayers::turning), deviation rows as in
//           statistics.h. All float64.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/analysis/decay_layers.h"
#include "ropescope/probe/samples.h"

namespace ropescope {

/// The mean over the layers of a kind.
struct KindCoefficients {
  at::Tensor mean;        ///< [2h]
  at::Tensor deviations;  ///< [*, 2h] of `mean`
  int64_t clusters = 0, count = 0;
};

/// What concerns the whole model is over the layers that rotate, and stands in G parts: a part's frequencies turn its
/// own, and the curves of all parts add up to the whole's. So do those of deviations, text by text, before they are
/// squared: what a text does to one part and to another goes together.
struct DecayCoefficients {
  at::Tensor head;     ///< [L, H, 2h]; NaN where no pair fell or nothing was measured
  at::Tensor count;    ///< [L, H] int64: pairs, or tokens behind the moments
  at::Tensor layer;    ///< [L, 2h]; pairs: mean over the layer's pairs; moments: mean over its heads
  at::Tensor overall;  ///< [G, 2h]; pairs: mean over pairs; moments: mean over heads and layers
  at::Tensor overall_deviations;  ///< [*, G, 2h] of `overall`, NaN when no interval can be given
  at::Tensor layer_deviations;    ///< [L, *, 2h] of `layer`
  int64_t clusters = 0;           ///< texts behind `overall`
  at::Tensor layer_clusters;      ///< [L] int64
  at::Tensor
      spread;  ///< [*, G, 2h]: squares of its curves sum to the variance of single logits; or undefined
  /// [G] parts of mean |q||k|; moments: of the mean over heads of sqrt(E|q|^2 E|k|^2); NaN if unknown.
  std::vector<double> mean_norm;
  std::vector<KindCoefficients> kinds;  ///< of DecayLayers::kinds
  at::Tensor norm_q,
      norm_k;            ///< [L] mean norms of single vectors; moments: sqrt(E|x|^2); undefined if unknown
  std::string interval;  ///< how intervals are made, or why there are none
};

/// Places of the pairs in some layers, [*] int64.
at::Tensor pairs_in(const PairSet& pairs, const DecayLayers& layers, const std::vector<int64_t>& wanted);

/// x [N, D] in float64, the channels of each pair in halves of its layer's pairs (TurningLayers::order).
at::Tensor in_halves(const at::Tensor& x, const PairSet& pairs, const DecayLayers& layers);

/// Channels are put in halves first.
DecayCoefficients coefficients_from_pairs(const PairSet& pairs, int64_t heads, const DecayLayers& layers);
DecayCoefficients coefficients_from_moments(const MomentSet& moments, const DecayLayers& layers);

/// Whether the moments of single texts can serve a jackknife: two texts or more, and every head of `measured`
/// [L, H] (bool) was measured on all of their tokens.
bool has_usable_text_moments(const MomentSet& moments, const at::Tensor& measured);

/// `mean` [L, H, D] over all texts, without text `text`; `text_mean` [S, L, H, D] its partner.
at::Tensor mean_without_text(const MomentSet& moments, const at::Tensor& mean, const at::Tensor& text_mean,
                             int64_t text);

/// Second moments E[c c^T] [..., 2h, 2h] of the coefficient row c of independent q and k with second moments
/// (not centred) q2, k2 [..., D, D].
at::Tensor coefficient_second_moment(const at::Tensor& q2, const at::Tensor& k2);

/// [..., 2h] of q and k whose channels stand in halves.
at::Tensor coefficient_rows(const at::Tensor& q, const at::Tensor& k);

}  // namespace ropescope
