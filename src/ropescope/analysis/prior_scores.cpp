#include "ropescope/analysis/prior_scores.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/tensor_operators.h"

namespace ropescope {

namespace {

/// Angle of every channel at every displacement, [channels, U].
at::Tensor angles_of(const at::Tensor& delta, const Frequencies& frequencies, int64_t axis_row) {
  if (frequencies.weights.defined() && delta.size(0) > 1) {
    return frequencies.weights[axis_row].mul(frequencies.inv_freq.unsqueeze(1)).matmul(delta);
  }
  const at::Tensor axis = frequencies.axis[axis_row];
  // A channel of a table with one coordinate follows it whatever its axis is called; -1 stands still.
  const at::Tensor row = delta.size(0) == 1 ? axis.clamp_max(0) : axis;
  const at::Tensor turns = row.ge(0).to(at::kDouble) * frequencies.inv_freq;
  return delta.index_select(0, row.clamp_min(0)) * turns.unsqueeze(1);
}

}  // namespace

Features prior_features(const at::Tensor& delta, const Frequencies& frequencies, int64_t axis_row,
                        double score_scale, int64_t pairs) {
  const at::Tensor angle = angles_of(delta, frequencies, axis_row);
  const double scale = score_scale * frequencies.attention_scale * frequencies.attention_scale;
  const at::Tensor none = at::zeros({pairs - angle.size(0), delta.size(1)}, at::kDouble);
  Features features;
  features.values = at::cat({angle.cos().mul_(scale), none, angle.sin().mul_(-scale), none,
                             at::full({1, delta.size(1)}, score_scale, at::kDouble)});
  features.distance = delta[0].abs();
  return features;
}

at::Tensor prior_scores(const PriorCoefficients& coefficients, const HeadBlock& block,
                        const Features& features) {
  at::Tensor scores = coefficients.rows.index_select(0, block.index).matmul(features.values);
  if (block.slopes.defined()) scores -= block.slopes.unsqueeze(1) * features.distance.unsqueeze(0);
  return scores;
}

at::Tensor prior_gradient(const at::Tensor& weights, const Features& features) {
  return weights.matmul(features.values.transpose(0, 1));
}

}  // namespace ropescope
