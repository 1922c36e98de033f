#include "ropescope/rope/decay_theory.h"

#include <algorithm>

#include <fmt/ranges.h>

#include <ATen/ops/addmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/cumsum.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/hypot.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

/// Distances whose cos and sin tables are held at once: 64 frequencies take 4 MiB then.
constexpr int64_t kBlock = 4096;

at::Tensor to_double(const at::Tensor& x) { return x.detach().to(at::kDouble).contiguous(); }

void require_vectors(const at::Tensor& distance, const at::Tensor& inv_freq) {
  if (distance.dim() != 1 || inv_freq.dim() != 1) {
    throw InternalError("decay: expected distance [D] and inv_freq [h], found [{}] and [{}]",
                        fmt::join(distance.sizes(), ", "), fmt::join(inv_freq.sizes(), ", "));
  }
}

/// Calls body(begin, length, angles [h, length]) block by block; angles[i, m] = distance[m] * inv_freq[i].
template <typename Body>
void for_each_block(const at::Tensor& distance, const at::Tensor& inv_freq, const Body& body) {
  require_vectors(distance, inv_freq);
  const at::Tensor m = to_double(distance), frequency = to_double(inv_freq);
  for (int64_t begin = 0; begin < m.numel(); begin += kBlock) {
    const int64_t length = std::min(kBlock, m.numel() - begin);
    body(begin, length, at::outer(frequency, m.narrow(0, begin, length)));
  }
}

/// weights [h]: sum_j weights[j-1] |S_j(m)|, j = 1..h.
at::Tensor weighted_partial_sums(const at::Tensor& weights, const at::Tensor& distance,
                                 const at::Tensor& inv_freq) {
  at::Tensor sums = at::empty(distance.sizes(), at::kDouble);
  for_each_block(distance, inv_freq, [&](int64_t begin, int64_t length, const at::Tensor& angles) {
    const at::Tensor modulus = at::hypot(angles.cos().cumsum(0), angles.sin().cumsum(0));
    sums.narrow(0, begin, length).copy_(weights.unsqueeze(0).mm(modulus).squeeze(0));
  });
  return sums;
}

/// |h_{i+1} - h_i|, i = 0..h-1, with h_{d/2} = 0.
at::Tensor coefficient_steps(const at::Tensor& a, const at::Tensor& b, const at::Tensor& inv_freq) {
  if (a.dim() != 1 || a.sizes() != b.sizes() || a.sizes() != inv_freq.sizes()) {
    throw InternalError("Abel bound: expected a, b and inv_freq of one shape [h], found [{}], [{}], [{}]",
                        fmt::join(a.sizes(), ", "), fmt::join(b.sizes(), ", "),
                        fmt::join(inv_freq.sizes(), ", "));
  }
  const at::Tensor end = at::zeros({1}, at::kDouble);
  return at::hypot(at::cat({to_double(a), end}).diff(), at::cat({to_double(b), end}).diff());
}

/// C(m) = 2 sum_i cos(m f_i), [D]: the trace of the rotation by m.
at::Tensor rotation_trace(const at::Tensor& distance, const at::Tensor& inv_freq) {
  at::Tensor trace = at::empty(distance.sizes(), at::kDouble);
  for_each_block(distance, inv_freq, [&](int64_t begin, int64_t length, const at::Tensor& angles) {
    trace.narrow(0, begin, length).copy_(angles.cos().sum(0).mul(2.0));
  });
  return trace;
}

void check_gaussian(double std, double correlation) {
  if (!(std >= 0)) throw UsageError("--std: expected a number >= 0, found {}", std);
  if (!(correlation >= -1 && correlation <= 1)) {
    throw UsageError("--correlation: expected a number from -1 to 1, found {}", correlation);
  }
}

}  // namespace

DecaySign parse_decay_sign(const std::string& text) {
  if (text == "causal") return DecaySign::kCausal;
  if (text == "paper") return DecaySign::kPaper;
  throw UsageError("--sign: expected causal or paper, found \"{}\"", text);
}

std::pair<at::Tensor, at::Tensor> decay_coefficients(const at::Tensor& q, const at::Tensor& k) {
  if (q.dim() == 0 || q.sizes() != k.sizes() || q.size(-1) % 2 != 0) {
    throw InternalError("decay: expected q and k of one shape [..., even head_dim], found [{}] and [{}]",
                        fmt::join(q.sizes(), ", "), fmt::join(k.sizes(), ", "));
  }
  const int64_t half = q.size(-1) / 2;
  const at::Tensor q_double = to_double(q), k_double = to_double(k);
  const at::Tensor q_low = q_double.narrow(-1, 0, half), q_high = q_double.narrow(-1, half, half);
  const at::Tensor k_low = k_double.narrow(-1, 0, half), k_high = k_double.narrow(-1, half, half);
  return {q_low.mul(k_low).add_(q_high.mul(k_high)), q_high.mul(k_low).sub_(q_low.mul(k_high))};
}

at::Tensor evaluate_decay(const at::Tensor& a, const at::Tensor& b, const at::Tensor& distance,
                          const at::Tensor& inv_freq, DecaySign sign) {
  require_vectors(distance, inv_freq);
  if (a.dim() == 0 || a.sizes() != b.sizes() || a.size(-1) != inv_freq.size(0)) {
    throw InternalError("decay: expected a and b of one shape [..., {}], found [{}] and [{}]",
                        inv_freq.size(0), fmt::join(a.sizes(), ", "), fmt::join(b.sizes(), ", "));
  }
  std::vector<int64_t> shape(a.sizes().begin(), a.sizes().end());
  shape.back() = distance.numel();
  const at::Tensor a_rows = to_double(a).reshape({-1, inv_freq.size(0)});
  const at::Tensor b_rows = to_double(b).reshape({-1, inv_freq.size(0)});
  at::Tensor curves = at::empty({a_rows.size(0), distance.numel()}, at::kDouble);
  for_each_block(distance, inv_freq, [&](int64_t begin, int64_t length, const at::Tensor& angles) {
    at::Tensor block = curves.narrow(1, begin, length);
    at::mm_out(block, a_rows, angles.cos());
    block.addmm_(b_rows, angles.sin(), 1.0, static_cast<double>(sign));
  });
  return curves.view(shape);
}

at::Tensor decay_modulus(const at::Tensor& a, const at::Tensor& b, const at::Tensor& distance,
                         const at::Tensor& inv_freq) {
  // Real part A cos - B sin; imaginary part A sin + B cos, the same expression of (B, -A).
  return at::hypot(evaluate_decay(a, b, distance, inv_freq, DecaySign::kCausal),
                   evaluate_decay(b, a.neg(), distance, inv_freq, DecaySign::kCausal));
}

at::Tensor abel_bound(const at::Tensor& a, const at::Tensor& b, const at::Tensor& distance,
                      const at::Tensor& inv_freq) {
  const at::Tensor largest_step = coefficient_steps(a, b, inv_freq).max();
  return weighted_partial_sums(largest_step.expand(inv_freq.sizes()), distance, inv_freq);
}

at::Tensor abel_sum(const at::Tensor& a, const at::Tensor& b, const at::Tensor& distance,
                    const at::Tensor& inv_freq) {
  return weighted_partial_sums(coefficient_steps(a, b, inv_freq), distance, inv_freq);
}

at::Tensor mean_partial_sum(const at::Tensor& distance, const at::Tensor& inv_freq) {
  const double share = 1.0 / static_cast<double>(std::max<int64_t>(inv_freq.numel(), 1));
  return weighted_partial_sums(at::empty(inv_freq.sizes(), at::kDouble).fill_(share), distance, inv_freq);
}

at::Tensor gaussian_expectation(double mean_q, double mean_k, double std, double correlation,
                                const at::Tensor& distance, const at::Tensor& inv_freq) {
  check_gaussian(std, correlation);
  return rotation_trace(distance, inv_freq).mul(mean_q * mean_k + correlation * std * std);
}

at::Tensor gaussian_variance(double mean_q, double mean_k, double std, double correlation,
                             const at::Tensor& distance, const at::Tensor& inv_freq) {
  return gaussian_covariance(mean_q, mean_k, std, correlation, distance, distance, inv_freq);
}

at::Tensor gaussian_covariance(double mean_q, double mean_k, double std, double correlation,
                               const at::Tensor& first, const at::Tensor& second,
                               const at::Tensor& inv_freq) {
  check_gaussian(std, correlation);
  const at::Tensor m = to_double(first), n = to_double(second);
  const double variance = std * std;
  const at::Tensor difference = rotation_trace(m.sub(n), inv_freq);
  const at::Tensor sum = rotation_trace(m.add(n), inv_freq);
  return difference.mul(variance * (mean_q * mean_q + mean_k * mean_k + variance))
      .add(sum.mul(variance * (2 * correlation * mean_q * mean_k + correlation * correlation * variance)));
}

}  // namespace ropescope
