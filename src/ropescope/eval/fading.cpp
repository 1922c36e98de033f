#include "ropescope/eval/fading.h"

#include <cmath>

#include "ropescope/core/errors.h"
#include "ropescope/eval/long_context.h"

namespace ropescope::eval {

namespace {

/// Of the values that are numbers.
std::pair<double, Interval> mean_and_interval(const std::vector<double>& values, uint64_t seed) {
  Stratum all;
  for (const double value : values) {
    if (std::isfinite(value)) all.values.push_back(value);
  }
  if (all.values.empty()) return {std::nan(""), {std::nan(""), std::nan("")}};
  return {stratified_mean({all}), bootstrap_interval({all}, seed)};
}

FadingPoint point_of(const Scores& scores, const Benchmark& benchmark, int64_t length, uint64_t seed) {
  FadingPoint point;
  point.distractor_tokens = length;
  point.items = scores.items;
  point.failed = scores.failed;
  point.units = static_cast<int64_t>(scores.units.size());
  point.percent = headline_percent(benchmark, scores.aggregates).value_or(std::nan(""));
  point.interval = figure_interval(benchmark, scores.units, seed);
  std::tie(point.visual_share, point.share_interval) = mean_and_interval(scores.visual_share, seed);
  point.uniform_share = mean_and_interval(scores.uniform_share, seed).first;
  return point;
}

const Scores& find(const std::map<Condition, Scores>& scores, const std::string& scheme, int64_t length) {
  const auto found = scores.find({scheme, length});
  if (found == scores.end()) {
    throw InputError("samples.jsonl: expected answers under {} at {} tokens of distractor, found none",
                     scheme_label(scheme), length);
  }
  return found->second;
}

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }
Json pair_of(const Interval& interval) { return {number(interval.low), number(interval.high)}; }

Json json_of_paired(const PairedDifference& paired) {
  Json object = {{"points", paired.difference}, {"ci95", pair_of(paired.interval)}, {"units", paired.units}};
  if (paired.p) object["mcnemar_p"] = *paired.p;
  return object;
}

}  // namespace

std::string scheme_label(const std::string& scheme) { return scheme.empty() ? "model's own" : scheme; }

std::vector<FadingCurve> fading_curves(const std::map<Condition, Scores>& scores, const Benchmark& benchmark,
                                       const std::vector<std::string>& schemes,
                                       const std::vector<int64_t>& lengths, uint64_t seed) {
  std::vector<FadingCurve> curves;
  for (const std::string& scheme : schemes) {
    FadingCurve curve{scheme, {}};
    std::map<int64_t, double> percent;
    const UnitScores& start = find(scores, scheme, lengths.front()).units;
    for (const int64_t length : lengths) {
      const Scores& here = find(scores, scheme, length);
      curve.points.push_back(point_of(here, benchmark, length, seed));
      curve.points.back().drop = paired_difference(benchmark, here.units, start, seed);
      curve.points.back().against_first =
          paired_difference(benchmark, find(scores, schemes.front(), length).units, here.units, seed);
      percent[length] = curve.points.back().percent;
    }
    const auto change = fading(percent);
    for (FadingPoint& point : curve.points) point.relative = change.at(point.distractor_tokens).relative;
    curves.push_back(std::move(curve));
  }
  return curves;
}

Json fading_json(const std::vector<FadingCurve>& curves) {
  Json list = Json::array();
  for (const FadingCurve& curve : curves) {
    Json points = Json::array();
    for (const FadingPoint& point : curve.points) {
      points.push_back({{"distractor_tokens", point.distractor_tokens},
                        {"items", point.items},
                        {"failed", point.failed},
                        {"units", point.units},
                        {"percent", number(point.percent)},
                        {"ci95", pair_of(point.interval)},
                        {"drop", json_of_paired(point.drop)},
                        {"relative", number(point.relative)},
                        {"against_first_scheme", json_of_paired(point.against_first)},
                        {"visual_share", number(point.visual_share)},
                        {"visual_share_ci95", pair_of(point.share_interval)},
                        {"uniform_share", number(point.uniform_share)}});
    }
    list.push_back(
        {{"scheme", curve.scheme.empty() ? Json(nullptr) : Json(curve.scheme)}, {"points", points}});
  }
  return list;
}

}  // namespace ropescope::eval
