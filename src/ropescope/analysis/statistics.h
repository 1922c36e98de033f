// Intervals for means of dependent observations. Observations of one text (a cluster) depend on each other;
// texts are independent.
// Notation  G clusters, P components; a deviation matrix d [*, P] gives the variance of any linear
// combination c of the P estimated means as sum over rows (c . d_t)^2, so that one matrix serves every
// distance of a curve.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ropescope {

/// Two-sided Student t quantile, for example (0.95, 9) -> 2.262. NaN when dof < 1.
double student_quantile(double level, int64_t dof);

/// Mean of independent observations with its 95% Student t interval. NaN bounds for fewer than two
/// observations; values that are NaN are no observations.
struct MeanInterval {
  double mean = 0, ci95_low = 0, ci95_high = 0;
  int64_t count = 0;
};
MeanInterval mean_interval(const std::vector<double>& values);

/// Cluster-robust deviations of the ratio estimator sum_t S_t / sum_t n_t:
///   d_t = sqrt(G/(G-1)) (S_t - mean n_t) / sum n.
/// sums: [G, P] float64 per-cluster sums, counts: [G] float64. Clusters without observations have rows of
/// zeros and are not counted in G. NaN everywhere if fewer than two clusters have observations.
at::Tensor ratio_deviations(const at::Tensor& sums, const at::Tensor& counts);

/// Delete-one jackknife deviations: d_t = sqrt((G-1)/G) (e_t - mean e), e [G, P] the estimates without
/// cluster t. NaN everywhere if G < 2.
at::Tensor jackknife_deviations(const at::Tensor& leave_one_out);

/// A matrix with the same d^T d and at most P rows.
at::Tensor compress_deviations(const at::Tensor& deviations);

/// A matrix d with d^T d = `covariance` [P, P] (negative eigenvalues from rounding count as 0).
at::Tensor deviations_of_covariance(const at::Tensor& covariance);

}  // namespace ropescope
