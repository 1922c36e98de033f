// The independent pieces of a benchmark's figure (Benchmark::units): their scores, the figure's interval, and
// the difference between two ways of asking the same questions.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/core/json.h"
#include "ropescope/eval/benchmark.h"
#include "ropescope/eval/intervals.h"

namespace ropescope::eval {

struct UnitScore {
  std::string stratum;
  double value = 0;
  std::string part{};  ///< UnitRule::part of the counting item
  double weight = 1;   ///< UnitRule::weigh_items: how many items it has
};
using UnitScores = std::map<std::string, UnitScore>;  ///< by the unit's key

/// Where pairs of neighbours begin: at 0 if there is an index 0, else at 1.
template <typename ByIndex>
int64_t first_index_of_pairs(const ByIndex& by_index) {
  return by_index.empty() || by_index.begin()->first > 0 ? 1 : 0;
}

/// Collects samples, in any order, into units.
class UnitCollector {
 public:
  explicit UnitCollector(const Benchmark& benchmark) : benchmark_(benchmark) {}
  void add(int64_t record, const Json& doc, double score);
  /// Of the units that count.
  UnitScores scores() const;

 private:
  struct Collected {
    std::string stratum, part;
    std::vector<double> scores;
    bool counts = false;
    double sum = 0, times = 0;  ///< UnitRule::times, and the scores counted so often
  };
  UnitScores pairs() const;
  const Benchmark& benchmark_;
  std::map<std::string, Collected> units_;
};

/// 95 % interval of a benchmark's figure, in percent: Wilson's where the units are right or wrong and weigh
/// alike, else by bootstrap within the strata that the figure averages over.
Interval figure_interval(const Benchmark& benchmark, const UnitScores& units, uint64_t seed);

/// The same of any figure `scale` x sum of `weight` x the stratum's mean; no weight: they weigh alike and sum
/// to 1.
Interval units_interval(const UnitScores& units, std::optional<double> weight, double scale, uint64_t seed);

/// Those of one part of the benchmark.
UnitScores units_of_part(const UnitScores& units, const std::string& part);

/// `b` minus `a` over the units that both have.
struct PairedDifference {
  double difference = 0;  ///< percent points
  Interval interval;      ///< percent points, paired bootstrap
  int64_t units = 0;
  std::optional<int64_t> only_a,
      only_b;               ///< units right in one of the two only, where all are right or wrong
  std::optional<double> p;  ///< McNemar, exact
};
PairedDifference paired_difference(const Benchmark& benchmark, const UnitScores& a, const UnitScores& b,
                                   uint64_t seed);

}  // namespace ropescope::eval
