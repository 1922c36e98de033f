// Mathematics of long-range decay (RoFormer, arXiv 2104.09864, section 3.4.3; ID-Align, arXiv 2505.21465,
// appendix A).
//
//   A_i = q_i k_i + q_{i+h} k_{i+h},   B_i = q_{i+h} k_i - q_i k_{i+h}    (half-split pairs, h = head_dim/2)
//   causal sign (key earlier):    E(m) = sum_i A_i cos(m f_i) - B_i sin(m f_i),
//                                 m = query position - key position >= 0
//   paper's printed sign:         E(m) = sum_i A_i cos(m f_i) + B_i sin(m f_i)
//
// Everything is linear in (A, B): averages over pairs are taken first, then evaluated, at O(head_dim) per
// distance and with scratch memory that does not grow with the number of distances. All float64. Inner
// products are not divided by sqrt(head_dim). `distance` may hold any real numbers of any numeric type.
#pragma once

#include <string>
#include <utility>

#include <ATen/core/Tensor.h>

namespace ropescope {

enum class DecaySign { kCausal = -1, kPaper = +1 };

/// "causal" or "paper"; throws UsageError.
DecaySign parse_decay_sign(const std::string& text);

/// q, k: [..., head_dim]. Returns (A, B), each [..., head_dim/2] float64.
std::pair<at::Tensor, at::Tensor> decay_coefficients(const at::Tensor& q, const at::Tensor& k);

/// Expected logit of each curve at each distance: [..., D] float64 from a, b [..., h], distance [D], inv_freq
/// [h]. Angles m * f_i are formed in float64 for each product (no recurrence), so 10^6 is as exact as 1.
at::Tensor evaluate_decay(const at::Tensor& a, const at::Tensor& b, const at::Tensor& distance,
                          const at::Tensor& inv_freq, DecaySign sign);

/// |sum_i h_i exp(i m f_i)| with h_i = A_i + i B_i, the left-hand side of eq. 13 and 18. Its real part is the
/// curve of the causal sign; the Abel terms below bound both signs, since |S_j(-m)| = |S_j(m)|. a, b: [...,
/// h]; returns [..., D] float64.
at::Tensor decay_modulus(const at::Tensor& a, const at::Tensor& b, const at::Tensor& distance,
                         const at::Tensor& inv_freq);

/// Right-hand side of eq. 18: max_i |h_{i+1} - h_i| * sum_{i=0}^{h-1} |S_{i+1}(m)|, with h_i = A_i + i B_i,
/// h_{d/2} = 0 and S_j(m) = sum_{i<j} exp(i m f_i). a, b: [h]; returns [D] float64. The maximum includes
/// i = h-1, i.e. |h_{h-1}|.
at::Tensor abel_bound(const at::Tensor& a, const at::Tensor& b, const at::Tensor& distance,
                      const at::Tensor& inv_freq);

/// The tighter middle term of eq. 13: sum_i |S_{i+1}(m)| |h_{i+1} - h_i|. Returns [D] float64.
at::Tensor abel_sum(const at::Tensor& a, const at::Tensor& b, const at::Tensor& distance,
                    const at::Tensor& inv_freq);

/// Mean over j of |S_j(m)|, j = 1..h: [D] float64. It falls with m as a trend only, never monotonically.
at::Tensor mean_partial_sum(const at::Tensor& distance, const at::Tensor& inv_freq);

// The Gaussian model: q = mean_q 1 + std x, k = mean_k 1 + std y, with x, y ~ N(0, I) and Corr(x_i, y_i) = r
// in the same channel, none between channels. Write R for the rotation by m and C(m) = tr R = 1'R1 = 2 sum_i
// cos(m f_i). Then
//   q'Rk = mean_q mean_k C(m) + std mean_q 1'Ry + std mean_k x'R1 + std^2 x'Ry.
// Expectation: E[x'Ry] = r tr R. Covariance of distances m and n of one draw: the two linear terms give
// std^2 (mean_q^2 + mean_k^2) C(m - n) (R is orthogonal, so 1'R_m R_n'1 = C(m - n)) and, through r,
// 2 r std^2 mean_q mean_k C(m + n); x'Ry gives by Isserlis' theorem tr(R_m R_n') + r^2 tr(R_m R_n) =
// C(m - n) + r^2 C(m + n) times std^4; linear times quadratic terms are odd moments and vanish.
// All three throw UsageError unless std >= 0 and -1 <= correlation <= 1.

/// E(m) = (mean_q mean_k + r std^2) C(m), [D] float64.
at::Tensor gaussian_expectation(double mean_q, double mean_k, double std, double correlation,
                                const at::Tensor& distance, const at::Tensor& inv_freq);

/// Variance of one draw's inner product at each distance, [D] float64: with C(0) = d,
/// d std^2 (mean_q^2 + mean_k^2 + std^2) + (2 r mean_q mean_k + r^2 std^2) std^2 C(2m).
/// Without correlation it is the same at all distances.
at::Tensor gaussian_variance(double mean_q, double mean_k, double std, double correlation,
                             const at::Tensor& distance, const at::Tensor& inv_freq);

/// Covariance of one draw's inner products at distances `first` and `second` (both [D]), [D] float64:
/// simulated curves are smooth because neighbouring distances share their error.
at::Tensor gaussian_covariance(double mean_q, double mean_k, double std, double correlation,
                               const at::Tensor& first, const at::Tensor& second, const at::Tensor& inv_freq);

}  // namespace ropescope
