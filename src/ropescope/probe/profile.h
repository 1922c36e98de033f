// Distance profile: the mean logit of real token pairs (i, i - m) at their real distance, for all m at once.
//   sum_i <q_i, k_{i-m}> = Re IFFT( sum_c FFT(z_q,c) conj(FFT(z_k,c)) )[m],   z_c = x_c + i x_{c+h}
// over rotated vectors; any two channels may share a complex number, since the inner product takes all of
// them. O(D n log n) for n tokens, in float64: sums over far pairs have few terms, and float32 transforms
// would carry the rounding of the near ones. Of short texts all products are taken, which costs less.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/probe/samples.h"

namespace ropescope {

/// q_HTD [H, n, D], k_KTD [K, n, D] (H a multiple of K, D even), rotated. Returns [H, n] float64 on the CPU:
/// the sum over i >= m of <q_i, k_{i-m}> for m = 0..n-1. Working memory: one padded
/// complex sequence a query head and share of work (67 MB for 32 heads of 65,536 tokens), not one a channel.
at::Tensor lagged_inner_products(const at::Tensor& q_HTD, const at::Tensor& k_KTD);

/// All pairs of a text, [tokens] float64: tokens - m at distance m.
at::Tensor pairs_at_distances(int64_t tokens);
/// The same of pairs whose query and key are among some tokens; `queries`, `keys`: [tokens] bool.
at::Tensor pairs_at_distances(const at::Tensor& queries, const at::Tensor& keys);

/// Adds texts up and gives mean and standard error. The mean is the ratio estimator over all pairs of all
/// texts; pairs of one text depend on each other, so its variance is taken over texts:
///   Var = G/(G-1) * sum_t (S_t - mean * n_t)^2 / (sum_t n_t)^2,   G texts that reach the distance.
class ProfileAccumulator {
 public:
  /// `longest`: tokens of the longest text; distances are 0..longest-1.
  ProfileAccumulator(int64_t layers, int64_t heads, int64_t longest);

  /// Once for each text. `pairs`: [tokens] float64: its pairs at each distance that count.
  void add_text(const at::Tensor& pairs);
  /// Sums of one text, layer: [heads.size(), tokens] as lagged_inner_products gives them, of those pairs.
  void add_sums(int64_t layer, const std::vector<int64_t>& heads, const at::Tensor& sums,
                const at::Tensor& pairs);
  ProfileSet result() const;

  /// Everything that texts have added, by name.
  std::vector<std::pair<std::string, at::Tensor>> state() const {
    return {{"sum", sum_}, {"sum_squared", sum_squared_}, {"cross", cross_}, {"measured", measured_}};
  }

 private:
  at::Tensor count_, count_squared_, texts_;  // [M] float64: over texts, of n_t, n_t^2, 1
  at::Tensor sum_, sum_squared_, cross_;      // [L, H, M] float64: of S_t, S_t^2, S_t n_t
  at::Tensor measured_;                       // [L, H] bool
};

}  // namespace ropescope
