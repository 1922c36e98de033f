#include "crossings.h"

#include <cmath>

#include "ropescope/core/errors.h"

namespace ropescope::miniature {

namespace {

double log_place(double length) { return std::log1p(length); }

}  // namespace

std::optional<Crossing> crossing_of(const std::vector<int64_t>& lengths,
                                    const std::vector<double>& differences, double tie) {
  if (lengths.size() != differences.size())
    throw InternalError("crossings: lengths and differences differ in number");
  const auto sign = [&](size_t i) {
    if (std::abs(differences[i]) <= tie) return 0;
    return differences[i] > 0 ? 1 : -1;
  };
  std::optional<Crossing> first;
  std::optional<size_t> last;  // with a sign
  const auto between = [&](size_t i, size_t j, double share) {
    const double from = log_place(static_cast<double>(lengths[i])),
                 to = log_place(static_cast<double>(lengths[j]));
    return std::expm1(from + (to - from) * share);
  };
  for (size_t j = 0; j < lengths.size(); ++j) {
    if (sign(j) == 0) continue;
    if (!last && j > 0) {
      const double before = std::abs(differences[j - 1]);
      const double share = (tie - before) / (std::abs(differences[j]) - before);
      first = Crossing{between(j - 1, j, share), sign(j) < 0, 1, /*from_tie=*/true};
    } else if (last && sign(*last) != sign(j)) {
      const double before = differences[*last];
      if (first) {
        ++first->changes;
      } else {
        first = Crossing{between(*last, j, before / (before - differences[j])), sign(j) < 0, 1, false};
      }
    }
    last = j;
  }
  return first;
}

CrossingSummary summarise(const std::vector<std::optional<Crossing>>& of_seeds) {
  CrossingSummary summary;
  summary.seeds = static_cast<int64_t>(of_seeds.size());
  std::vector<double> falling, rising;
  for (const std::optional<Crossing>& crossing : of_seeds) {
    if (!crossing) continue;
    (crossing->falls ? falling : rising).push_back(log_place(crossing->length));
    if (crossing->changes > 1) ++summary.several;
  }
  summary.falling = static_cast<int64_t>(falling.size());
  summary.rising = static_cast<int64_t>(rising.size());
  summary.falls = falling.size() >= rising.size();
  for (const std::optional<Crossing>& crossing : of_seeds) {
    if (crossing && crossing->falls == summary.falls && crossing->from_tie) ++summary.from_tie;
  }
  const MeanInterval places = mean_interval(summary.falls ? falling : rising);
  summary.length = {std::expm1(places.mean), std::expm1(places.ci95_low), std::expm1(places.ci95_high),
                    places.count};
  return summary;
}

}  // namespace ropescope::miniature
