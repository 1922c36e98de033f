#include "interactions.h"

#include <algorithm>

#include <fmt/format.h>

#include "ropescope/analysis/paired_tests.h"

namespace ropescope::miniature {

namespace {

/// The values that two comparisons' common seeds have in `from`.
std::vector<double> values_at(const Comparison& from, const std::vector<int64_t>& seeds, size_t measure) {
  std::vector<double> values;
  for (const int64_t seed : seeds) {
    const auto at = std::find(from.seeds.begin(), from.seeds.end(), seed);
    values.push_back(from.differences[measure].values[static_cast<size_t>(at - from.seeds.begin())]);
  }
  return values;
}

bool of_plain(const Row& with, const Row& without) {
  return with.map.empty() && with.scheme == "id-align" && without.scheme == "vanilla";
}

Interaction interaction_of(size_t index, const Comparison& there, const Comparison& plain) {
  Interaction result;
  result.comparison = index;
  std::vector<int64_t> seeds;
  for (const int64_t seed : there.seeds) {
    if (std::find(plain.seeds.begin(), plain.seeds.end(), seed) != plain.seeds.end()) seeds.push_back(seed);
  }
  for (size_t m = 0; m < kMeasures; ++m) {
    Difference difference;
    difference.values = values_at(there, seeds, m);
    const std::vector<double> usual = values_at(plain, seeds, m);
    for (size_t s = 0; s < seeds.size(); ++s) difference.values[s] -= usual[s];
    if (!seeds.empty()) {
      difference.interval = mean_interval(difference.values);
      difference.p = sign_flip_p(difference.values);
    }
    result.differences.push_back(std::move(difference));
  }
  return result;
}

}  // namespace

std::vector<Interaction> interactions(const std::vector<Row>& rows,
                                      const std::vector<Comparison>& comparisons) {
  std::vector<Interaction> found;
  for (size_t c = 0; c < comparisons.size(); ++c) {
    const Row &with = rows[comparisons[c].with], &without = rows[comparisons[c].without];
    if (!with.map.empty() || without.scheme == "vanilla" || without_alignment(with.scheme) != without.scheme)
      continue;
    for (const Comparison& plain : comparisons) {
      const Row& aligned = rows[plain.with];
      if (!of_plain(aligned, rows[plain.without]) || !is_like(aligned, with)) continue;
      Interaction interaction = interaction_of(c, comparisons[c], plain);
      if (!interaction.differences[0].values.empty()) found.push_back(std::move(interaction));
    }
  }
  for (size_t m = 0; m < kMeasures; ++m) {
    std::vector<double> p;
    for (const Interaction& interaction : found) p.push_back(interaction.differences[m].p);
    const std::vector<double> adjusted = holm_adjusted(p);
    for (size_t i = 0; i < found.size(); ++i) found[i].differences[m].adjusted = adjusted[i];
  }
  return found;
}

std::string interaction_table(const std::vector<Row>& rows, const std::vector<Comparison>& comparisons,
                              const std::vector<Interaction>& found) {
  if (found.empty()) return "";
  std::string text =
      "| interaction: ID-Align's gain here minus its gain on plain positions | θ | correspondence, seen grids | unseen | answers, "
      "seen grids | unseen | seeds |\n|---|---|---|---|---|---|---|\n";
  for (const Interaction& interaction : found) {
    const Comparison& comparison = comparisons[interaction.comparison];
    const Row& without = rows[comparison.without];
    text += fmt::format("| {} | {} ", without.scheme, theta_text(without));
    for (const Difference& difference : interaction.differences)
      text += "| " + difference_text(difference) + " ";
    text += fmt::format("| {} |\n", interaction.differences[0].values.size());
  }
  return text +
         fmt::format(
             "\n0: additive. \\*: resolved, as above, corrected for the {} interactions of a measure. Shares end at 1: what begins "
             "higher has less to gain.\n",
             found.size());
}

std::string interaction_csv(const std::vector<Row>& rows, const std::vector<Comparison>& comparisons,
                            const std::vector<Interaction>& found) {
  std::string text =
      "scheme,theta,scaling,correspondence_weight,measure,seeds,interaction,low,high,p,p_holm,resolved\n";
  for (const Interaction& interaction : found) {
    const Row& without = rows[comparisons[interaction.comparison].without];
    for (size_t m = 0; m < kMeasures; ++m) {
      const Difference& difference = interaction.differences[m];
      text += fmt::format("\"{}\",{:g},{},{:g},{},{},{:.5f},{:.5f},{:.5f},{:.6f},{:.6f},{}\n", without.scheme,
                          without.theta, without.scaling, without.correspondence, kMeasureNames[m],
                          difference.values.size(), difference.interval.mean, difference.interval.ci95_low,
                          difference.interval.ci95_high, difference.p, difference.adjusted,
                          difference.resolved() ? 1 : 0);
    }
  }
  return text;
}

}  // namespace ropescope::miniature
