// Which differences between the rows of a table are resolved: seed by seed, exact tests, corrected for their number.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "ropescope/analysis/statistics.h"

#include "table.h"

namespace ropescope::miniature {

/// What is called resolved: below this after Holm's correction over the comparisons of one measure.
inline constexpr double kResolvedBelow = 0.05;

/// One row minus another, of one measure, over the seeds that both have.
struct Difference {
  std::vector<double> values;       ///< a seed each; none where nothing was asked
  std::vector<int64_t> seeds = {};  ///< of the values
  MeanInterval interval;            ///< Student t
  double p = 1;                     ///< exact sign flips
  double adjusted = 1;              ///< Holm, over all comparisons of this measure
  bool resolved() const { return adjusted < kResolvedBelow; }
};

struct Comparison {
  size_t with = 0, without = 0;         ///< rows
  std::vector<Difference> differences;  ///< [kMeasures]
};

/// Whether two rows differ at most in their schemes, maps and compression: in neither θ, targets nor steps.
bool is_like(const Row& a, const Row& b);

/// Holm's correction over those of them that have values.
void correct_together(const std::vector<Difference*>& differences);

/// Of `list`, each with its `differences` [kMeasures], over how many Holm's correction goes: "the 8", or "at most 8" where a measure was
/// asked of fewer.
template <typename Compared>
std::string corrected_text(const std::vector<Compared>& list) {
  const bool all = std::all_of(list.begin(), list.end(), [](const Compared& one) {
    return std::none_of(one.differences.begin(), one.differences.end(),
                        [](const Difference& difference) { return difference.values.empty(); });
  });
  return (all ? "the " : "at most ") + std::to_string(list.size());
}

/// "+0.46 [+0.43, +0.49]"; no brackets where there is no interval.
std::string gain_text(const MeanInterval& gain);
/// The same, with a star where it is resolved; "—" of no seed.
std::string difference_text(const Difference& difference);

/// The scheme that ID-Align was added to ("vanilla" for ID-Align alone, "dipe" for "dipe+id-align"); empty for one that has none of it.
std::string without_alignment(const std::string& scheme);

/// Each row that has ID-Align against the same without; each row with a wrong map against the right one; where `baseline` is not
/// empty, each other row that has neither against the row of that scheme (but the one that it is compared with itself). Of compressed
/// pictures (compression.h)
/// besides each other rule of merged ids against "cell". Rows differ in nothing else. Those without a common seed are left out.
std::vector<Comparison> compare_rows(const std::vector<Row>& rows, const std::string& baseline = "");

/// Means, intervals, "*" where resolved; under it which are not, and how many seeds could resolve them.
std::string comparison_table(const std::vector<Row>& rows, const std::vector<Comparison>& comparisons);
/// One line for each comparison and measure.
std::string comparison_csv(const std::vector<Row>& rows, const std::vector<Comparison>& comparisons);

}  // namespace ropescope::miniature
