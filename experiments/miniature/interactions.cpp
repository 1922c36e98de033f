#include "interactions.h"

#include <algorithm>

#include <fmt/format.h>

#include "ropescope/analysis/paired_tests.h"

namespace ropescope::miniature {

namespace {

/// Over the seeds that both have.
Difference minus(const Difference& a, const Difference& b) {
  Difference result;
  for (size_t i = 0; i < a.seeds.size(); ++i) {
    const auto at = std::find(b.seeds.begin(), b.seeds.end(), a.seeds[i]);
    if (at == b.seeds.end()) continue;
    result.values.push_back(a.values[i] - b.values[static_cast<size_t>(at - b.seeds.begin())]);
    result.seeds.push_back(a.seeds[i]);
  }
  result.interval = mean_interval(result.values);
  if (!result.values.empty()) result.p = sign_flip_p(result.values);
  return result;
}

bool of_plain(const Row& with, const Row& without) {
  return with.map.empty() && with.scheme == "id-align" && without.scheme == "vanilla";
}

Interaction interaction_of(size_t index, const Comparison& there, const Comparison& plain) {
  Interaction result;
  result.comparison = index;
  for (size_t m = 0; m < kMeasures; ++m) {
    result.differences.push_back(minus(there.differences[m], plain.differences[m]));
  }
  return result;
}

}  // namespace

std::vector<Interaction> interactions(const std::vector<Row>& rows,
                                      const std::vector<Comparison>& comparisons) {
  std::vector<Interaction> found;
  for (size_t c = 0; c < comparisons.size(); ++c) {
    const Row &with = rows[comparisons[c].with], &without = rows[comparisons[c].without];
    if (!with.map.empty() || with.compress != without.compress || without.scheme == "vanilla" ||
        without_alignment(with.scheme) != without.scheme) {
      continue;
    }
    for (const Comparison& plain : comparisons) {
      const Row& aligned = rows[plain.with];
      if (!of_plain(aligned, rows[plain.without]) || !is_like(aligned, with)) continue;
      if (aligned.compress != with.compress || rows[plain.without].compress != with.compress) continue;
      Interaction interaction = interaction_of(c, comparisons[c], plain);
      if (!interaction.differences.back().values.empty()) found.push_back(std::move(interaction));
    }
  }
  for (size_t m = 0; m < kMeasures; ++m) {
    std::vector<Difference*> of_measure;
    for (Interaction& interaction : found) of_measure.push_back(&interaction.differences[m]);
    correct_together(of_measure);
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
    text += fmt::format("| {}{} | {} ", without.scheme, detail_of(without), theta_text(without));
    for (const Difference& difference : interaction.differences)
      text += "| " + difference_text(difference) + " ";
    text += fmt::format("| {} |\n", interaction.differences.back().values.size());
  }
  return text +
         fmt::format(
             "\n0: additive. \\*: resolved, as above, corrected for {} interactions of a measure. Shares end at 1: what begins "
             "higher has less to gain.\n",
             corrected_text(found));
}

std::string interaction_csv(const std::vector<Row>& rows, const std::vector<Comparison>& comparisons,
                            const std::vector<Interaction>& found) {
  std::string text =
      "scheme,theta,scaling,correspondence_weight,measure,seeds,interaction,low,high,p,p_holm,resolved,compress\n";
  for (const Interaction& interaction : found) {
    const Row& without = rows[comparisons[interaction.comparison].without];
    for (size_t m = 0; m < kMeasures; ++m) {
      const Difference& difference = interaction.differences[m];
      text += fmt::format("\"{}\",{:g},{},{:g},{},{},{:.5f},{:.5f},{:.5f},{:.6f},{:.6f},{},\"{}\"\n",
                          without.scheme, without.theta, without.scaling, without.correspondence,
                          kMeasureNames[m], difference.values.size(), difference.interval.mean,
                          difference.interval.ci95_low, difference.interval.ci95_high, difference.p,
                          difference.adjusted, difference.resolved() ? 1 : 0, without.compress);
    }
  }
  return text;
}

}  // namespace ropescope::miniature
