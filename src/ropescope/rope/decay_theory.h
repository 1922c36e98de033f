// Mathematics of long-range decay (RoFormer, arXiv 2104.09864, section 3.4.3; ID-Align, arXiv 2505.21465,
// appendix A).
//   A_i = q_i k_i + q_{i+h} k_{i+h},   B_i = q_{i+h} k_i - q_i k_{i+h}          (half-split pairs, h =
//   head_dim/2) causal sign (key earlier):  E(m) = sum_i A_i cos(m f_i) - B_i sin(m f_i),   m = query
//   position - key position >= 0 paper's printed sign:       E(m) = sum_i A_i cos(m f_i) + B_i sin(m f_i)
// Everything is linear in (A, B): averages over pairs are taken first, then evaluated, at O(head_dim) per
// distance. All float64. Inner products are not divided by sqrt(head_dim).
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

/// Right-hand side of eq. 18: max_i |h_{i+1} - h_i| * sum_{i=0}^{h-1} |S_{i+1}(m)|, with h_i = A_i + i B_i,
/// h_{d/2} = 0 and S_j(m) = sum_{i<j} exp(i m f_i). a, b: [h]; returns [D] float64. The maximum includes i =
/// h-1, i.e. |h_{h-1}|.
at::Tensor abel_bound(const at::Tensor& a, const at::Tensor& b, const at::Tensor& distance,
                      const at::Tensor& inv_freq);
/// The tighter middle term of eq. 13: sum_i |S_{i+1}(m)| |h_{i+1} - h_i|. Returns [D] float64.
at::Tensor abel_sum(const at::Tensor& a, const at::Tensor& b, const at::Tensor& distance,
                    const at::Tensor& inv_freq);
/// Mean over j of |S_j(m)|, j = 1..h: [D] float64.
at::Tensor mean_partial_sum(const at::Tensor& distance, const at::Tensor& inv_freq);

/// q ~ N(mean_q * 1, std^2 I), k ~ N(mean_k * 1, std^2 I), Corr(q_i, k_i) = correlation.
/// E(m) [D]; correlation adds correlation * std^2 * 2 sum_i cos(m f_i).
at::Tensor gaussian_expectation(double mean_q, double mean_k, double std, double correlation,
                                const at::Tensor& distance, const at::Tensor& inv_freq);
/// Variance of one draw's inner product at each distance, [D]. Without correlation it is the same at all
/// distances: d (mean_q^2 + mean_k^2) std^2 + d std^4.
at::Tensor gaussian_variance(double mean_q, double mean_k, double std, double correlation,
                             const at::Tensor& distance, const at::Tensor& inv_freq);

}  // namespace ropescope
