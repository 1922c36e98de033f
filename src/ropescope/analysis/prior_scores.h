// Scores of heads at displacements, and gradients back to the coefficients of their moments.
#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/analysis/prior_coefficients.h"
#include "ropescope/rope/scheme.h"

namespace ropescope {

/// Heads whose channels turn alike (one row of the axis table) and whose ids agree.
struct HeadBlock {
  at::Tensor index;  ///< [n] int64: rows of PriorCoefficients
  int64_t axis_row = 0;
  at::Tensor slopes;  ///< [n] float64: ALiBi; undefined without
};

/// Scores at fixed displacements: scores(rows) = (rows . features + bias) with the scale of scores inside the
/// features.
struct Features {
  at::Tensor values;    ///< [C, U] float64
  at::Tensor distance;  ///< [U]: |displacement| on the first axis, for ALiBi's bias
};

/// delta: [axes, U] float64. Angles are formed in float64. `pairs`: of the rows; those behind the frequencies are 0.
Features prior_features(const at::Tensor& delta, const Frequencies& frequencies, int64_t axis_row,
                        double score_scale, int64_t pairs);

/// [n, U] float64: expected score of each head of the block at each displacement.
at::Tensor prior_scores(const PriorCoefficients& coefficients, const HeadBlock& block,
                        const Features& features);

/// Chain rule: weights [n, U] = d number / d score; returns d number / d row, [n, C].
at::Tensor prior_gradient(const at::Tensor& weights, const Features& features);

}  // namespace ropescope
