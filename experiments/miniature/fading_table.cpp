#include "fading_table.h"

#include <algorithm>
#include <map>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ropescope/analysis/paired_tests.h"
#include "ropescope/core/errors.h"

#include "table.h"

namespace ropescope::miniature {

namespace {

void take_points(FadingRun& run, const Json& behind, size_t album, const std::string& what) {
  const char* grids = kGrids[album];
  if (!behind.is_object() || !behind.contains(grids) || !behind[grids].is_array() || behind[grids].empty()) {
    throw InputError("{}: \"fading\": expected a list \"{}\"", what, grids);
  }
  std::vector<int64_t> lengths;
  for (const Json& point : behind[grids]) {
    if (!point.is_object() || !point.contains("answers")) {
      throw InputError("{}: a point of \"fading\": expected \"answers\"", what);
    }
    const int64_t right = json_integer(point["answers"], "right", what),
                  asked = json_integer(point["answers"], "asked", what),
                  pictures = json_integer(point, "pictures", what);
    if (asked < 1 || right < 0 || right > asked)
      throw InputError("{}: a share of {} in {}", what, right, asked);
    if (!lengths.empty() && (asked != run.plan.asked[album] || pictures != run.plan.pictures[album])) {
      throw InputError("{}: \"fading\": expected as many questions at every length, found {} and {}", what,
                       run.plan.asked[album], asked);
    }
    lengths.push_back(json_integer(point, "length", what));
    run.plan.asked[album] = asked;
    run.plan.pictures[album] = pictures;
    run.right[album].push_back(right);
    run.values[album].push_back(static_cast<double>(right) / static_cast<double>(asked));
    run.values[kFadingAnswers + album].push_back(json_number(point, "visual_share", what));
  }
  if (!std::is_sorted(lengths.begin(), lengths.end()) || (album > 0 && lengths != run.plan.lengths)) {
    throw InputError("{}: \"fading\": expected the same ascending lengths for seen and unseen grids", what);
  }
  run.plan.lengths = lengths;
}

const FadingRun* run_of_seed(const FadingRow& row, int64_t seed) {
  const auto found = std::find_if(row.runs.begin(), row.runs.end(),
                                  [seed](const FadingRun& run) { return run.seed == seed; });
  return found == row.runs.end() ? nullptr : &*found;
}

FadingComparison compare_two(const FadingTable& table, size_t with, size_t without) {
  FadingComparison comparison;
  comparison.with = with;
  comparison.without = without;
  const size_t lengths = table.plan.lengths.size();
  comparison.differences.resize(kFadingMeasures, std::vector<Difference>(lengths));
  comparison.crossings.resize(kFadingAnswers);
  for (const FadingRun& run : table.rows[with].runs) {
    const FadingRun* other = run_of_seed(table.rows[without], run.seed);
    if (other == nullptr) continue;
    for (size_t m = 0; m < kFadingMeasures; ++m) {
      std::vector<double> differences;
      for (size_t i = 0; i < lengths; ++i) {
        differences.push_back(run.values[m][i] - other->values[m][i]);
        comparison.differences[m][i].values.push_back(differences.back());
      }
      if (m < kFadingAnswers)
        comparison.crossings[m].push_back(crossing_of(table.plan.lengths, differences, kTie));
    }
  }
  if (static_cast<int64_t>(comparison.crossings[0].size()) > kMostSignFlips) {
    throw InputError("results of {}: expected at most {} seeds to compare, found {}", table.rows[with].scheme,
                     kMostSignFlips, comparison.crossings[0].size());
  }
  for (std::vector<Difference>& of_measure : comparison.differences) {
    for (Difference& difference : of_measure) {
      difference.interval = mean_interval(difference.values);
      difference.p = sign_flip_p(difference.values);
    }
  }
  return comparison;
}

}  // namespace

std::optional<FadingRun> parse_fading_run(const Json& json, const std::string& what) {
  check_is_run(json, what);
  if (!json.contains("fading")) return std::nullopt;
  const Run parsed = parse_run(json, what);
  FadingRun run;
  run.plan.world = parsed.world;
  run.plan.theta = parsed.theta;
  run.plan.scaling = parsed.scaling;
  run.plan.correspondence = parsed.correspondence;
  run.plan.steps = parsed.planned;
  run.plan.trained = parsed.distractors;
  run.scheme = parsed.scheme + detail_text(parsed.map, parsed.compress);
  run.seed = parsed.seed;
  run.values.resize(kFadingMeasures);
  for (size_t album = 0; album < kFadingAnswers; ++album) take_points(run, json["fading"], album, what);
  return run;
}

FadingTable make_fading_table(const std::vector<FadingRun>& runs, const std::vector<std::string>& order) {
  if (runs.empty()) throw InternalError("a table of fading: expected runs, found none");
  FadingTable table;
  table.plan = runs.front().plan;
  std::map<std::pair<size_t, std::string>, FadingRow> rows;
  for (const FadingRun& run : runs) {
    if (run.plan != table.plan) {
      throw InputError(
          "results of runs: expected one kind of pictures, theta, scaling, steps, lengths and number of questions, found {} (seed {}) and {} (seed {}) that differ in them",
          runs.front().scheme, runs.front().seed, run.scheme, run.seed);
    }
    const auto place = static_cast<size_t>(std::find(order.begin(), order.end(), run.scheme) - order.begin());
    FadingRow& row = rows[{place, run.scheme}];
    if (run_of_seed(row, run.seed) != nullptr) {
      throw InputError("results of runs: expected one of {} with seed {}, found two", run.scheme, run.seed);
    }
    row.scheme = run.scheme;
    row.runs.push_back(run);
  }
  for (auto& [key, row] : rows) {
    std::sort(row.runs.begin(), row.runs.end(),
              [](const FadingRun& a, const FadingRun& b) { return a.seed < b.seed; });
    row.intervals.resize(kFadingMeasures);
    for (size_t m = 0; m < kFadingMeasures; ++m) {
      for (size_t i = 0; i < table.plan.lengths.size(); ++i) {
        std::vector<double> values;
        for (const FadingRun& run : row.runs) values.push_back(run.values[m][i]);
        row.intervals[m].push_back(mean_interval(values));
      }
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

std::string ids_alone(const std::string& scheme) {
  const std::string anchored = "dipe+", plain = "+vanilla";
  if (scheme.rfind(anchored, 0) != 0) return scheme;
  const std::string ids = scheme.substr(anchored.size());
  // Without a design beside it DIPE brings its own: M-RoPE in chunks.
  if (ids.substr(0, ids.find(':')) == "id-align" && ids.find('+') == std::string::npos) return ids + "+mrope";
  const size_t end = ids.size() - std::min(ids.size(), plain.size());
  return end > 0 && ids.compare(end, plain.size(), plain) == 0 ? ids.substr(0, end) : ids;
}

std::vector<FadingComparison> compare_fading(const FadingTable& table, const std::string& baseline) {
  std::vector<FadingComparison> comparisons;
  const auto add = [&](size_t with, const std::string& without) {
    for (size_t i = 0; i < table.rows.size(); ++i) {
      if (i == with || table.rows[i].scheme != without) continue;
      FadingComparison comparison = compare_two(table, with, i);
      if (!comparison.crossings[0].empty()) comparisons.push_back(std::move(comparison));
    }
  };
  for (size_t i = 0; i < table.rows.size(); ++i) {
    const std::string& scheme = table.rows[i].scheme;
    if (scheme != ids_alone(baseline)) add(i, baseline);  // the baseline is compared with that one
    const std::string ids = ids_alone(scheme);
    if (ids != scheme && ids != baseline) add(i, ids);
  }
  for (size_t m = 0; m < kFadingMeasures; ++m) {
    for (size_t i = 0; i < table.plan.lengths.size(); ++i) {
      std::vector<Difference*> at_length;
      for (FadingComparison& comparison : comparisons) at_length.push_back(&comparison.differences[m][i]);
      correct_together(at_length);
    }
  }
  return comparisons;
}

}  // namespace ropescope::miniature
