#include "ropescope/eval/intervals.h"

#include <algorithm>
#include <cmath>

#include <boost/math/distributions/binomial.hpp>
#include <boost/random/uniform_int_distribution.hpp>

#include "ropescope/core/random.h"

namespace ropescope::eval {

Interval wilson_interval(double right, double count) {
  if (count <= 0) return {0, 1};
  constexpr double kZ = 1.959963984540054;
  const double p = right / count, z2 = kZ * kZ / count;
  const double centre = (p + z2 / 2) / (1 + z2);
  const double half = kZ / (1 + z2) * std::sqrt(p * (1 - p) / count + z2 / (4 * count));
  return {std::max(0.0, centre - half), std::min(1.0, centre + half)};
}

double mcnemar_exact(int64_t only_a, int64_t only_b) {
  const int64_t pairs = only_a + only_b;
  if (pairs == 0) return 1;
  const boost::math::binomial_distribution<double> fair(static_cast<double>(pairs), 0.5);
  return std::min(1.0, 2 * boost::math::cdf(fair, static_cast<double>(std::min(only_a, only_b))));
}

namespace {

/// The stratum's weight x the mean of as many values as it has, at the places that `pick` gives.
template <typename Pick>
double mean_of_picked(const Stratum& stratum, const Pick& pick) {
  double sum = 0, weights = 0;
  for (size_t i = 0; i < stratum.values.size(); ++i) {
    const size_t place = pick(i);
    const double weight = stratum.weights.empty() ? 1 : stratum.weights[place];
    sum += weight * stratum.values[place];
    weights += weight;
  }
  return stratum.weight * sum / weights;
}

}  // namespace

double stratified_mean(const std::vector<Stratum>& strata) {
  double total = 0;
  for (const Stratum& stratum : strata) {
    if (stratum.values.empty()) continue;
    total += mean_of_picked(stratum, [](size_t i) { return i; });
  }
  return total;
}

Interval bootstrap_interval(const std::vector<Stratum>& strata, uint64_t seed, int64_t rounds) {
  const bool any_spread = std::any_of(strata.begin(), strata.end(),
                                      [](const Stratum& stratum) { return stratum.values.size() > 1; });
  if (!any_spread) return {std::nan(""), std::nan("")};
  std::vector<double> figures;
  Rng rng = make_rng(seed, {0x626F6F74});
  for (int64_t round = 0; round < rounds; ++round) {
    double total = 0;
    for (const Stratum& stratum : strata) {
      if (stratum.values.empty()) continue;
      boost::random::uniform_int_distribution<size_t> pick(0, stratum.values.size() - 1);
      total += mean_of_picked(stratum, [&](size_t) { return pick(rng); });
    }
    figures.push_back(total);
  }
  std::sort(figures.begin(), figures.end());
  const auto quantile = [&](double share) {
    return figures[static_cast<size_t>(share * static_cast<double>(figures.size() - 1))];
  };
  return {quantile(0.025), quantile(0.975)};
}

}  // namespace ropescope::eval
