#include "ropescope/eval/units.h"

#include <algorithm>

namespace ropescope::eval {

void UnitCollector::add(int64_t record, const Json& doc, double score) {
  const std::string item = std::to_string(record);
  const UnitRule& rule = benchmark_.units;
  const Unit unit = rule.unit != nullptr ? rule.unit(doc, item) : Unit{"", item};
  Collected& collected = units_[unit.key];
  collected.stratum = unit.stratum;
  if (unit.counts && rule.part != nullptr) collected.part = rule.part(doc);
  collected.scores.push_back(score);
  if (rule.times != nullptr) {
    collected.sum += rule.times(doc) * score;
    collected.times += rule.times(doc);
  }
  collected.counts = collected.counts || unit.counts;
}

UnitScores UnitCollector::scores() const {
  if (benchmark_.units.pairs) return pairs();
  UnitScores scores;
  double times = 0, counting = 0;
  for (const auto& [key, unit] : units_) {
    if (!unit.counts) continue;
    times += unit.times;
    ++counting;
  }
  for (const auto& [key, unit] : units_) {
    if (!unit.counts) continue;
    if (benchmark_.units.times != nullptr) {
      scores[key] = {unit.stratum, times > 0 ? unit.sum * counting / times : 0, unit.part};
      continue;
    }
    auto* const value = benchmark_.units.value;
    scores[key] = {unit.stratum, value != nullptr ? value(unit.scores) : unit.scores.front(), unit.part,
                   benchmark_.units.weigh_items ? static_cast<double>(unit.scores.size()) : 1.0};
  }
  return scores;
}

UnitScores UnitCollector::pairs() const {
  std::map<int64_t, const Collected*> by_index;
  for (const auto& [key, unit] : units_) by_index[std::stoll(key)] = &unit;
  UnitScores scores;
  const auto first = first_index_of_pairs(by_index);
  for (const auto& [index, unit] : by_index) {
    const auto next = by_index.find(index + 1);
    if ((index - first) % 2 != 0 || next == by_index.end()) continue;
    const double right = std::min(unit->scores.front(), next->second->scores.front());
    scores[std::to_string(index)] = {unit->stratum, right, unit->part};
  }
  return scores;
}

namespace {

template <typename WeightOf>  // (name, number of strata) -> weight
std::vector<Stratum> weighted_strata(const UnitScores& units, WeightOf&& weight_of) {
  std::map<std::string, Stratum> by_name;
  for (const auto& [key, unit] : units) {
    by_name[unit.stratum].values.push_back(unit.value);
    by_name[unit.stratum].weights.push_back(unit.weight);
  }
  std::vector<Stratum> strata;
  for (auto& [name, stratum] : by_name) {
    stratum.weight = weight_of(name, by_name.size());
    strata.push_back(std::move(stratum));
  }
  return strata;
}

double equal_weight(size_t strata) { return 1.0 / static_cast<double>(strata); }

std::vector<Stratum> strata_of(const Benchmark& benchmark, const UnitScores& units) {
  auto* const weight = benchmark.units.weight;
  return weighted_strata(units, [&](const std::string& name, size_t strata) {
    return weight != nullptr ? weight(name, strata) : equal_weight(strata);
  });
}

/// Whether units are right or wrong, and weigh alike.
bool is_binary(const UnitScores& units) {
  return std::all_of(units.begin(), units.end(), [](const auto& unit) {
    return (unit.second.value == 0 || unit.second.value == 1) && unit.second.weight == 1;
  });
}

Interval scaled(Interval interval, double scale) { return {interval.low * scale, interval.high * scale}; }

}  // namespace

Interval figure_interval(const Benchmark& benchmark, const UnitScores& units, uint64_t seed) {
  if (benchmark.units.weight == nullptr) return units_interval(units, {}, benchmark.headline_scale, seed);
  return scaled(bootstrap_interval(strata_of(benchmark, units), seed), benchmark.headline_scale);
}

Interval units_interval(const UnitScores& units, std::optional<double> weight, double scale, uint64_t seed) {
  const auto strata = weighted_strata(
      units, [&](const std::string&, size_t count) { return weight.value_or(equal_weight(count)); });
  if (strata.size() != 1 || weight || !is_binary(units)) {
    return scaled(bootstrap_interval(strata, seed), scale);
  }
  double right = 0;
  for (const double value : strata[0].values) right += value;
  return scaled(wilson_interval(right, static_cast<double>(units.size())), scale);
}

UnitScores units_of_part(const UnitScores& units, const std::string& part) {
  UnitScores chosen;
  for (const auto& [key, unit] : units) {
    if (unit.part == part) chosen.emplace(key, unit);
  }
  return chosen;
}

PairedDifference paired_difference(const Benchmark& benchmark, const UnitScores& a, const UnitScores& b,
                                   uint64_t seed) {
  PairedDifference result;
  UnitScores differences;
  int64_t only_a = 0, only_b = 0;
  for (const auto& [key, unit] : a) {
    const auto other = b.find(key);
    if (other == b.end()) continue;
    differences[key] = {unit.stratum, other->second.value - unit.value, "", unit.weight};
    only_a += unit.value > other->second.value ? 1 : 0;
    only_b += unit.value < other->second.value ? 1 : 0;
  }
  result.units = static_cast<int64_t>(differences.size());
  if (differences.empty()) return result;
  const double scale = benchmark.headline_scale;
  const auto strata = strata_of(benchmark, differences);
  result.difference = stratified_mean(strata) * scale;
  result.interval = scaled(bootstrap_interval(strata, seed), scale);
  if (is_binary(a) && is_binary(b)) {
    result.only_a = only_a;
    result.only_b = only_b;
    result.p = mcnemar_exact(only_a, only_b);
  }
  return result;
}

}  // namespace ropescope::eval
