#include "ropescope/analysis/statistics.h"

#include <cmath>

#include <boost/math/distributions/students_t.hpp>

#include <ATen/ops/full_like.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/linalg_qr.h>

#include "ropescope/core/numbers.h"
#include "ropescope/core/tensor_operators.h"

namespace ropescope {

namespace {}  // namespace

double student_quantile(double level, int64_t dof) {
  if (dof < 1) return kNan;
  return boost::math::quantile(boost::math::students_t(static_cast<double>(dof)), 0.5 * (1.0 + level));
}

MeanInterval mean_interval(const std::vector<double>& values) {
  double sum = 0, squares = 0;
  MeanInterval result;
  for (const double value : values) {
    if (std::isnan(value)) continue;
    sum += value;
    ++result.count;
  }
  const auto count = static_cast<double>(result.count);
  result.mean = result.count > 0 ? sum / count : NAN;
  for (const double value : values) {
    if (!std::isnan(value)) squares += (value - result.mean) * (value - result.mean);
  }
  const double error = result.count > 1 ? std::sqrt(squares / (count - 1) / count) : NAN;
  const double reach = student_quantile(0.95, result.count - 1) * error;
  result.ci95_low = result.mean - reach;
  result.ci95_high = result.mean + reach;
  return result;
}

at::Tensor ratio_deviations(const at::Tensor& sums, const at::Tensor& counts) {
  const double clusters = static_cast<double>((counts > 0).sum().item<int64_t>());
  if (clusters < 2) return at::full_like(sums, kNan);
  const at::Tensor total = counts.sum();
  const at::Tensor mean = sums.sum(0) / total;
  const at::Tensor residual = sums - counts.unsqueeze(1) * mean.unsqueeze(0);
  return residual * (std::sqrt(clusters / (clusters - 1.0)) / total);
}

at::Tensor jackknife_deviations(const at::Tensor& leave_one_out) {
  const double clusters = static_cast<double>(leave_one_out.size(0));
  if (clusters < 2) return at::full_like(leave_one_out, kNan);
  return (leave_one_out - leave_one_out.mean(0, /*keepdim=*/true)) * std::sqrt((clusters - 1.0) / clusters);
}

at::Tensor compress_deviations(const at::Tensor& deviations) {
  if (deviations.size(-2) <= deviations.size(-1)) return deviations;
  return std::get<1>(at::linalg_qr(deviations, "r"));
}

at::Tensor deviations_of_covariance(const at::Tensor& covariance) {
  const auto [values, vectors] = at::linalg_eigh(covariance);
  return values.clamp_min(0.0).sqrt().unsqueeze(1) * vectors.transpose(0, 1);
}

}  // namespace ropescope
