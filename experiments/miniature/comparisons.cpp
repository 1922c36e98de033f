#include "comparisons.h"

#include <algorithm>
#include <cmath>

#include <boost/algorithm/string/split.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ropescope/analysis/paired_tests.h"
#include "ropescope/core/errors.h"
#include "ropescope/io/figure.h"

namespace ropescope::miniature {

namespace {

const std::string kAligned = "id-align";

/// Its values and seeds; a seed of which one of the two was asked for nothing has none.
Difference difference_of(const Row& with, const Row& without, size_t measure) {
  Difference found;
  for (const Run& run : with.runs) {
    for (const Run& other : without.runs) {
      const double difference = run.curves[measure].back() - other.curves[measure].back();
      if (other.seed != run.seed || !std::isfinite(difference)) continue;
      found.values.push_back(difference);
      found.seeds.push_back(run.seed);
    }
  }
  return found;
}

double p_of(const std::vector<double>& values, const Row& row) {
  if (values.empty()) return 1;
  if (static_cast<int64_t>(values.size()) > kMostSignFlips) {
    throw InputError("results of {}: expected at most {} seeds to compare, found {}", row.scheme,
                     kMostSignFlips, values.size());
  }
  return sign_flip_p(values);
}

std::string name_of(const Row& row) { return row.scheme + detail_of(row); }

/// Seeds with which a difference of one sign in all of them would be resolved among so many comparisons.
int64_t seeds_needed(size_t comparisons) {
  int64_t seeds = 1;
  while (smallest_sign_flip_p(seeds) * static_cast<double>(comparisons) >= kResolvedBelow) ++seeds;
  return seeds;
}

}  // namespace

bool is_like(const Row& a, const Row& b) {
  return a.theta == b.theta && a.scaling == b.scaling && a.correspondence == b.correspondence &&
         a.steps == b.steps;
}

void correct_together(const std::vector<Difference*>& differences) {
  std::vector<double> p;
  std::vector<Difference*> compared;  // of compressed pictures a measure may be asked of no token
  for (Difference* difference : differences) {
    if (difference->values.empty()) continue;
    compared.push_back(difference);
    p.push_back(difference->p);
  }
  const std::vector<double> adjusted = holm_adjusted(p);
  for (size_t i = 0; i < compared.size(); ++i) compared[i]->adjusted = adjusted[i];
}

std::string gain_text(const MeanInterval& gain) {
  std::string text = fmt::format("{:+.2f}", gain.mean);
  if (std::isfinite(gain.ci95_low)) text += fmt::format(" [{:+.2f}, {:+.2f}]", gain.ci95_low, gain.ci95_high);
  return text;
}

std::string difference_text(const Difference& difference) {
  if (difference.values.empty()) return "—";
  return gain_text(difference.interval) + (difference.resolved() ? " *" : "");
}

std::string without_alignment(const std::string& scheme) {
  std::vector<std::string> parts, others;
  boost::split(parts, scheme, [](char c) { return c == '+'; });
  for (const std::string& part : parts) {
    if (part.substr(0, part.find(':')) != kAligned) others.push_back(part);
  }
  if (others.size() == parts.size()) return "";
  return others.empty() ? "vanilla" : fmt::format("{}", fmt::join(others, "+"));
}

std::vector<Comparison> compare_rows(const std::vector<Row>& rows, const std::string& baseline) {
  std::vector<Comparison> comparisons;
  const auto add = [&](size_t with, const auto& is_other) {
    for (size_t i = 0; i < rows.size(); ++i) {
      if (i == with || !is_like(rows[with], rows[i]) || !is_other(rows[i])) continue;
      Comparison comparison = {with, i, {}};
      for (size_t m = 0; m < kMeasures; ++m) {
        Difference difference = difference_of(rows[with], rows[i], m);
        difference.interval = mean_interval(difference.values);
        difference.p = p_of(difference.values, rows[with]);
        comparison.differences.push_back(std::move(difference));
      }
      if (!comparison.differences.back().values.empty()) comparisons.push_back(std::move(comparison));
    }
  };
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::string base = without_alignment(rows[i].scheme);
    if (!rows[i].map.empty()) {
      add(i, [&](const Row& row) {
        return row.map.empty() && row.compress == rows[i].compress && row.scheme == rows[i].scheme;
      });
    } else if (!base.empty()) {
      add(i, [&](const Row& row) {
        return row.map.empty() && row.compress == rows[i].compress && row.scheme == base;
      });
    } else if (!baseline.empty() && rows[i].scheme != baseline &&
               rows[i].scheme != without_alignment(baseline)) {  // the baseline is compared with that one
      add(i, [&](const Row& row) {
        return row.map.empty() && row.compress == rows[i].compress && row.scheme == baseline;
      });
    }
    // Other ids of what is left against the usual ones.
    if (const size_t comma = rows[i].compress.find(','); comma != std::string::npos) {
      const std::string usual = rows[i].compress.substr(0, comma);
      add(i, [&](const Row& row) {
        return row.compress == usual && row.map == rows[i].map && row.scheme == rows[i].scheme;
      });
    }
  }
  for (size_t m = 0; m < kMeasures; ++m) {
    std::vector<Difference*> of_measure;
    for (Comparison& comparison : comparisons) of_measure.push_back(&comparison.differences[m]);
    correct_together(of_measure);
  }
  return comparisons;
}

std::string comparison_table(const std::vector<Row>& rows, const std::vector<Comparison>& comparisons) {
  if (comparisons.empty()) return "";
  std::string text =
      "| difference, seed by seed | θ | targets | correspondence, seen grids | unseen | answers, seen grids | unseen "
      "| seeds |\n|---|---|---|---|---|---|---|---|\n";
  std::vector<std::string> open;
  size_t fewest = static_cast<size_t>(kMostSignFlips);
  for (const Comparison& comparison : comparisons) {
    const Row &with = rows[comparison.with], &without = rows[comparison.without];
    const std::string name = fmt::format("{} − {}", name_of(with), name_of(without));
    text += fmt::format("| {} | {} | {} ", name, theta_text(with), targets_text(with));
    for (const Difference& difference : comparison.differences)
      text += "| " + difference_text(difference) + " ";
    const size_t seeds = comparison.differences.back().values.size();
    text += fmt::format("| {} |\n", seeds);
    const auto has = [&](bool (*what)(const Difference&)) {
      return std::count_if(comparison.differences.begin(), comparison.differences.end(), what);
    };
    const auto asked = has([](const Difference& difference) { return !difference.values.empty(); });
    const auto resolved = has([](const Difference& difference) { return difference.resolved(); });
    if (resolved == asked) continue;
    fewest = std::min(fewest, seeds);
    open.push_back(fmt::format("{} at θ {} ({} of {})", name, theta_text(with), asked - resolved, asked));
  }
  text += fmt::format(
      "\n\\*: resolved. p < {} by all choices of signs of the seeds' differences, corrected (Holm) for {} comparisons of "
      "a measure. ",
      kResolvedBelow, corrected_text(comparisons));
  if (open.empty()) return text + "All are.\n";
  text += fmt::format("Not resolved: {}.", fmt::join(open, "; "));
  const int64_t needed = seeds_needed(comparisons.size());
  if (static_cast<int64_t>(fewest) < needed) {
    text += fmt::format(" Seeds in common: {}; it takes {} before anything could be.", fewest, needed);
  }
  return text + "\n";
}

std::string comparison_csv(const std::vector<Row>& rows, const std::vector<Comparison>& comparisons) {
  std::string text =
      "scheme,map,compress,other_scheme,other_map,other_compress,theta,correspondence_weight,measure,seeds,difference,low,high,"
      "p,p_holm,resolved,scaling\n";
  for (const Comparison& comparison : comparisons) {
    const Row &with = rows[comparison.with], &without = rows[comparison.without];
    for (size_t m = 0; m < kMeasures; ++m) {
      const Difference& difference = comparison.differences[m];
      text += fmt::format(
          "\"{}\",\"{}\",\"{}\",\"{}\",\"{}\",\"{}\",{:g},{:g},{},{},{:.5f},{:.5f},{:.5f},{:.6f},{:.6f},{},{}\n",
          with.scheme, with.map, with.compress, without.scheme, without.map, without.compress, with.theta,
          with.correspondence, kMeasureNames[m], difference.values.size(), difference.interval.mean,
          difference.interval.ci95_low, difference.interval.ci95_high, difference.p, difference.adjusted,
          difference.resolved() ? 1 : 0, with.scaling);
    }
  }
  return text;
}

}  // namespace ropescope::miniature
