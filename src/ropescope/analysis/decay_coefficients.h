// From samples to the numbers that every decay curve is linear in.
// Notation  h = head_dim/2; a coefficient row (A_0..A_{h-1}, B_0..B_{h-1}) [2h] evaluates to one curve
//           L layers, H query heads, deviation rows as in statistics.h. All float64.
#pragma once

#include <cstdint>
#include <string>

#include <ATen/core/Tensor.h>

#include "ropescope/probe/samples.h"

namespace ropescope {

struct DecayCoefficients {
  at::Tensor head;     ///< [L, H, 2h]; NaN where no pair fell or nothing was measured
  at::Tensor count;    ///< [L, H] int64: pairs, or tokens behind the moments
  at::Tensor layer;    ///< [L, 2h]; pairs: mean over the layer's pairs; moments: mean over its heads
  at::Tensor overall;  ///< [2h]; pairs: mean over pairs; moments: mean over heads and layers
  at::Tensor overall_deviations;  ///< [*, 2h] of `overall`, NaN when no interval can be given
  at::Tensor layer_deviations;    ///< [L, *, 2h] of `layer`
  int64_t clusters = 0;           ///< texts behind `overall`
  at::Tensor layer_clusters;      ///< [L] int64
  at::Tensor spread;  ///< [*, 2h]: squares of its curves sum to the variance of single logits; or undefined
  double mean_norm = 0;  ///< mean |q||k|; moments: mean over heads of sqrt(E|q|^2 E|k|^2); NaN if unknown
  std::string interval;  ///< how intervals are made, or why there are none
};

/// `rotary_dim` <= head_dim: the first channels that rotate, paired half-split among themselves. The rest is
/// paired likewise and takes the last places, to be evaluated at frequency 0.
DecayCoefficients coefficients_from_pairs(const PairSet& pairs, int64_t layers, int64_t heads,
                                          int64_t rotary_dim);
DecayCoefficients coefficients_from_moments(const MomentSet& moments, int64_t rotary_dim);

/// Whether the moments of single texts can serve a jackknife: two texts or more, and every head of `measured`
/// [L, H] (bool) was measured on all of their tokens.
bool has_usable_text_moments(const MomentSet& moments, const at::Tensor& measured);

/// `mean` [L, H, D] over all texts, without text `text`; `text_mean` [S, L, H, D] its partner.
at::Tensor mean_without_text(const MomentSet& moments, const at::Tensor& mean, const at::Tensor& text_mean,
                             int64_t text);

/// Second moments E[c c^T] [..., 2h, 2h] of the coefficient row c of independent q and k with second moments
/// (not centred) q2, k2 [..., D, D].
at::Tensor coefficient_second_moment(const at::Tensor& q2, const at::Tensor& k2);

}  // namespace ropescope
