#include "ropescope/analysis/paired_tests.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ropescope/core/errors.h"

namespace ropescope {

double sign_flip_p(const std::vector<double>& differences) {
  const auto count = static_cast<int64_t>(differences.size());
  if (count > kMostSignFlips) throw InternalError("sign_flip_p: {} differences", count);
  if (count == 0) return 1.0;
  double size = 0, sum = 0;
  for (const double difference : differences) {
    if (!std::isfinite(difference)) throw InternalError("sign_flip_p: a difference that is not finite");
    size += std::abs(difference);
    sum += difference;
  }
  const double wanted = std::abs(sum) - 1e-12 * size;
  const uint64_t choices = uint64_t{1} << count;
  uint64_t as_far = 0;
  for (uint64_t choice = 0; choice < choices; ++choice) {
    double flipped = 0;
    for (int64_t i = 0; i < count; ++i) {
      const double difference = differences[static_cast<size_t>(i)];
      flipped += (choice >> i & 1) != 0 ? -difference : difference;
    }
    as_far += std::abs(flipped) >= wanted ? 1 : 0;
  }
  return static_cast<double>(as_far) / static_cast<double>(choices);
}

double smallest_sign_flip_p(int64_t count) {
  return count < 1 ? 1.0 : std::ldexp(1.0, static_cast<int>(1 - count));
}

std::vector<double> holm_adjusted(const std::vector<double>& p) {
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] < p[b]; });
  std::vector<double> adjusted(p.size());
  double largest = 0;
  for (size_t rank = 0; rank < order.size(); ++rank) {
    largest = std::max(largest, std::min(1.0, static_cast<double>(p.size() - rank) * p[order[rank]]));
    adjusted[order[rank]] = largest;
  }
  return adjusted;
}

}  // namespace ropescope
