#include "ropescope/analysis/prior_scores.h"

#include <cmath>

#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>

#include "ropescope/core/tensor_operators.h"

namespace ropescope {

Features prior_features(const at::Tensor& delta, const Frequencies& frequencies, int64_t axis_row,
                        int64_t head_dim) {
  const at::Tensor axis = frequencies.axis[axis_row];
  // A channel of a table with one coordinate follows it whatever its axis is called; -1 stands still.
  const at::Tensor row = delta.size(0) == 1 ? axis.clamp_max(0) : axis;
  const at::Tensor turns = row.ge(0).to(at::kDouble) * frequencies.inv_freq;
  const at::Tensor angle = delta.index_select(0, row.clamp_min(0)) * turns.unsqueeze(1);
  const double unit = 1.0 / std::sqrt(static_cast<double>(head_dim));
  const double scale = unit * frequencies.attention_scale * frequencies.attention_scale;
  Features features;
  features.values = at::cat(
      {angle.cos().mul_(scale), angle.sin().mul_(-scale), at::full({1, delta.size(1)}, unit, at::kDouble)});
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
