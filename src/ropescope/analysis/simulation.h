// The simulation of ID-Align (arXiv 2505.21465), Fig. 5: random queries and keys with a common mean, and the
// closed form beside it (rope/decay_theory.h, "The Gaussian model").
//   q, k ~ N(mean 1, std^2 I), Corr(q_i, k_i) = correlation;  E(m) and its spread over independent trials
// Notation  U means, T thetas, D distances, h = head_dim/2
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/io/result_file.h"

namespace ropescope {

struct SimulationOptions {
  int64_t head_dim = 128;     ///< channels, even
  std::vector<double> mean;   ///< of every channel of q and of k
  double std = 1.0;           ///< of every channel, >= 0
  double correlation = 0.0;   ///< of q_i with k_i, -1..1; channels are independent of one another
  int64_t trials = 1000;      ///< independent (q, k) of each mean, >= 2
  std::vector<double> theta;  ///< bases, > 1
  int64_t max_distance = 4096;
  uint64_t seed = 0;

  /// Throws UsageError naming the flag of the first fault.
  void validate() const;
};

struct SimulationResult {
  SimulationOptions options;
  at::Tensor mean, theta, distance;  ///< [U] float64, [T] float64, [D] int64: 0..max_distance
  at::Tensor average;                ///< [U, T, D] float64: mean over the trials
  at::Tensor expected;               ///< [U, T, D]: closed form
  at::Tensor std;                    ///< [U, T, D]: sample standard deviation of one trial
  at::Tensor variance;               ///< [U, T, D]: closed form of std^2
  /// Greatest |average - expected| in standard errors, sqrt(variance / trials); 0 where nothing varies.
  double worst_standard_errors = 0.0;
};

/// The same draws serve every distance and every theta (errors of neighbouring distances are correlated,
/// curves are smooth). The stream of random numbers depends on (seed, index of the mean, trial) and every sum
/// has a fixed order: results are bit-identical at any thread count. Throws UsageError, and NumericsError on
/// overflow.
SimulationResult simulate(const SimulationOptions& options);

/// Writes `group` ("/simulation") with its datasets and attributes.
void write_simulation(ResultWriter& writer, const std::string& group, const SimulationResult& result);

}  // namespace ropescope
