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
  for (size_t j = 0; j < lengths.size(); ++j) {
    if (sign(j) == 0) continue;
    if (last && sign(*last) != sign(j)) {
      if (first) {
        ++first->changes;
      } else {
        const size_t i = *last;
        const double from = log_place(static_cast<double>(lengths[i])),
                     to = log_place(static_cast<double>(lengths[j]));
        const double place = from + (to - from) * differences[i] / (differences[i] - differences[j]);
        first = Crossing{std::expm1(place), sign(i) > 0, 1};
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
  const MeanInterval places = mean_interval(summary.falls ? falling : rising);
  summary.length = {std::expm1(places.mean), std::expm1(places.ci95_low), std::expm1(places.ci95_high),
                    places.count};
  return summary;
}

}  // namespace ropescope::miniature
