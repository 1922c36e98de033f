// How sure a figure is, and whether two differ.
#pragma once

#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace ropescope::eval {

struct Interval {
  double low = 0, high = 0;  ///< NaN: not known
  bool known() const { return std::isfinite(low) && std::isfinite(high); }
};

/// Wilson's 95 % interval of a share of `right` among `count` (Wilson 1927); 0..1 for no observations.
Interval wilson_interval(double right, double count);

/// McNemar's exact test: the two-sided probability that among `only_a + only_b` discordant pairs the split is
/// at least so uneven, if neither is better.
double mcnemar_exact(int64_t only_a, int64_t only_b);

/// Values of independent units by stratum; the figure is sum of weight * mean over the strata.
struct Stratum {
  double weight = 1;
  std::vector<double> values;
  std::vector<double> weights = {};  ///< of the values in the stratum's mean; empty: they weigh alike
};
double stratified_mean(const std::vector<Stratum>& strata);

/// 95 % percentile interval of the stratified mean: units are drawn anew within each stratum. For a
/// comparison give the differences of the paired units. Not known where no stratum has two units.
Interval bootstrap_interval(const std::vector<Stratum>& strata, uint64_t seed, int64_t rounds = 2000);

}  // namespace ropescope::eval
