// Tables, data and the figure of fading_table.h.
#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <ATen/ops/tensor.h>

#include "ropescope/analysis/figure_data.h"
#include "ropescope/io/figure.h"

#include "fading_table.h"
#include "table.h"

namespace ropescope::miniature {

namespace {

std::string header_of(const FadingTable& table, const std::string& title) {
  std::string text = "| " + title + " ", rule = "|---";
  for (const int64_t length : table.plan.lengths) {
    text += fmt::format("| {} ", length_text(length));
    rule += "|---";
  }
  return text + "| seeds |\n" + rule + "|---|\n";
}

std::string rows_of(const FadingTable& table, size_t measure) {
  std::string text;
  for (const FadingRow& row : table.rows) {
    text += "| " + row.scheme + " ";
    for (const MeanInterval& interval : row.intervals[measure]) text += "| " + share_text(interval) + " ";
    text += fmt::format("| {} |\n", row.runs.size());
  }
  return text;
}

std::string pair_name(const FadingTable& table, const FadingComparison& comparison) {
  return fmt::format("{} − {}", table.rows[comparison.with].scheme, table.rows[comparison.without].scheme);
}

std::string differences_of(const FadingTable& table, const std::vector<FadingComparison>& comparisons,
                           size_t measure) {
  std::string text;
  for (const FadingComparison& comparison : comparisons) {
    text += "| " + pair_name(table, comparison) + " ";
    for (const Difference& difference : comparison.differences[measure])
      text += "| " + difference_text(difference) + " ";
    text += fmt::format("| {} |\n", comparison.crossings[0].size());
  }
  return text;
}

/// DIPE on ids and the ids alone have one colour.
Panel length_panel(const FadingTable& table, const DistanceAxis& axis, size_t measure) {
  std::vector<std::string> ids;
  for (const FadingRow& row : table.rows) {
    if (std::find(ids.begin(), ids.end(), ids_alone(row.scheme)) == ids.end())
      ids.push_back(ids_alone(row.scheme));
  }
  Panel panel;
  panel.x = axis.axis;
  panel.y.low = 0.0;
  panel.y.high = 1.02;  // a line at 1 stays visible
  const auto inside = [](double share) { return std::clamp(share, 0.0, 1.0); };
  for (const FadingRow& row : table.rows) {
    Series series;
    series.label = row.scheme;
    series.x = axis.position;
    for (const MeanInterval& interval : row.intervals[measure]) {
      const bool known = std::isfinite(interval.ci95_low);
      series.y.push_back(interval.mean);
      series.low.push_back(known ? inside(interval.ci95_low) : interval.mean);
      series.high.push_back(known ? inside(interval.ci95_high) : interval.mean);
    }
    const auto place = std::find(ids.begin(), ids.end(), ids_alone(row.scheme)) - ids.begin();
    series.colour = curve_colour(static_cast<size_t>(place), ids.size());
    series.dashed = ids_alone(row.scheme) != row.scheme || row.scheme == "dipe";
    panel.series.push_back(std::move(series));
  }
  return panel;
}

}  // namespace

std::string length_text(int64_t tokens) {
  return tokens >= 1024 && tokens % 1024 == 0 ? fmt::format("{}K", tokens / 1024) : fmt::format("{}", tokens);
}

std::string crossing_text(const CrossingSummary& summary) {
  const int64_t with = summary.falls ? summary.falling : summary.rising,
                other = summary.falls ? summary.rising : summary.falling;
  if (with == 0) return fmt::format("none (0 of {} seeds)", summary.seeds);
  std::string text = fmt::format("{} from {:.0f}", summary.falls ? "behind" : "ahead", summary.length.mean);
  if (std::isfinite(summary.length.ci95_low)) {
    text +=
        fmt::format(" [{:.0f}, {:.0f}]", std::max(summary.length.ci95_low, 0.0), summary.length.ci95_high);
  }
  text += fmt::format(" ({} of {} seeds", with, summary.seeds);
  if (summary.from_tie > 0) text += fmt::format(", {} of them equal before", summary.from_tie);
  if (other > 0) text += fmt::format("; {} the other way round", other);
  if (summary.several > 0) text += fmt::format("; {} more than once", summary.several);
  return text + ")";
}

std::string fading_markdown(const FadingTable& table, const std::vector<FadingComparison>& comparisons) {
  const FadingPlan& plan = table.plan;
  const auto asked = [&](size_t album) {
    return fmt::format("{} questions about {} pictures a seed and length", plan.asked[album],
                       plan.pictures[album]);
  };
  std::string text =
      fmt::format("Trained for {} steps with {} tokens of text between picture and question.\n\n", plan.steps,
                  plan.trained.empty() ? "no" : fmt::format("{}", fmt::join(plan.trained, ", ")));
  text += header_of(table, "answers, seen grids, behind so many tokens") + rows_of(table, 0) + "\n";
  text += header_of(table, "answers, unseen grids") + rows_of(table, 1) + "\n";
  text += header_of(table, "attention on the picture, seen grids") + rows_of(table, 2) + "\n";
  text += fmt::format("Seen grids: {}; unseen: {}. Intervals: 95 %, Student t over the seeds.\n", asked(0),
                      asked(1));
  if (comparisons.empty()) return text;
  text += "\n" + header_of(table, "difference, seed by seed: answers, seen grids") +
          differences_of(table, comparisons, 0) + "\n";
  text += header_of(table, "answers, unseen grids") + differences_of(table, comparisons, 1);
  text += fmt::format(
      "\n\\*: resolved. p < {} by all choices of signs of the seeds' differences, corrected (Holm) for the {} comparisons at a "
      "length.\n\n",
      kResolvedBelow, comparisons.size());
  text +=
      "| tokens of text from which on a is ahead of b, or behind | seen grids | unseen |\n|---|---|---|\n";
  for (const FadingComparison& comparison : comparisons) {
    text += fmt::format("| {} | {} | {} |\n", pair_name(table, comparison),
                        crossing_text(summarise(comparison.crossings[0])),
                        crossing_text(summarise(comparison.crossings[1])));
  }
  return text + fmt::format("\nDifferences up to {} count as equal there.\n", kTie);
}

std::string fading_csv(const FadingTable& table) {
  std::string text = "scheme,measure,length,seeds,mean,low,high\n";
  for (const FadingRow& row : table.rows) {
    for (size_t m = 0; m < kFadingMeasures; ++m) {
      for (size_t i = 0; i < table.plan.lengths.size(); ++i) {
        const MeanInterval& interval = row.intervals[m][i];
        text += fmt::format("\"{}\",{},{},{},{:.5f},{:.5f},{:.5f}\n", row.scheme, kFadingNames[m],
                            table.plan.lengths[i], row.runs.size(), interval.mean, interval.ci95_low,
                            interval.ci95_high);
      }
    }
  }
  return text;
}

std::string fading_runs_csv(const FadingTable& table) {
  const FadingPlan& plan = table.plan;
  std::string text =
      "scheme,theta,correspondence_weight,seed,steps,trained_lengths,grids,length,pictures,right,asked,share,visual_share,scaling\n";
  for (const FadingRow& row : table.rows) {
    for (const FadingRun& run : row.runs) {
      for (size_t album = 0; album < kFadingAnswers; ++album) {
        for (size_t i = 0; i < plan.lengths.size(); ++i) {
          text += fmt::format("\"{}\",{:g},{:g},{},{},{},{},{},{},{},{},{:.6f},{:.6f},{}\n", row.scheme,
                              plan.theta, plan.correspondence, run.seed, plan.steps,
                              fmt::join(plan.trained, " "), album == 0 ? "seen" : "unseen", plan.lengths[i],
                              plan.pictures[album], run.right[album][i], plan.asked[album],
                              run.values[album][i], run.values[kFadingAnswers + album][i], plan.scaling);
        }
      }
    }
  }
  return text;
}

std::string fading_differences_csv(const FadingTable& table,
                                   const std::vector<FadingComparison>& comparisons) {
  std::string text = "scheme,other_scheme,measure,length,seeds,difference,low,high,p,p_holm,resolved\n";
  for (const FadingComparison& comparison : comparisons) {
    for (size_t m = 0; m < kFadingMeasures; ++m) {
      for (size_t i = 0; i < table.plan.lengths.size(); ++i) {
        const Difference& difference = comparison.differences[m][i];
        text +=
            fmt::format("\"{}\",\"{}\",{},{},{},{:.5f},{:.5f},{:.5f},{:.6f},{:.6f},{}\n",
                        table.rows[comparison.with].scheme, table.rows[comparison.without].scheme,
                        kFadingNames[m], table.plan.lengths[i], difference.values.size(),
                        difference.interval.mean, difference.interval.ci95_low, difference.interval.ci95_high,
                        difference.p, difference.adjusted, difference.resolved() ? 1 : 0);
      }
    }
  }
  return text;
}

std::string fading_crossings_csv(const FadingTable& table, const std::vector<FadingComparison>& comparisons) {
  std::string text =
      "scheme,other_scheme,grids,seeds,behind_from_seeds,ahead_from_seeds,more_than_once,equal_before,direction,length,low,high\n";
  for (const FadingComparison& comparison : comparisons) {
    for (size_t album = 0; album < kFadingAnswers; ++album) {
      const CrossingSummary summary = summarise(comparison.crossings[album]);
      const bool none = summary.falling + summary.rising == 0;
      text +=
          fmt::format("\"{}\",\"{}\",{},{},{},{},{},{},{},{:.2f},{:.2f},{:.2f}\n",
                      table.rows[comparison.with].scheme, table.rows[comparison.without].scheme,
                      album == 0 ? "seen" : "unseen", summary.seeds, summary.falling, summary.rising,
                      summary.several, summary.from_tie, none ? "none" : (summary.falls ? "behind" : "ahead"),
                      summary.length.mean, summary.length.ci95_low, summary.length.ci95_high);
    }
  }
  return text;
}

void write_fading(const std::filesystem::path& file, const FadingTable& table, const Provenance& provenance) {
  ResultWriter writer(file, provenance, /*force=*/true);
  std::vector<std::string> schemes;
  std::vector<int64_t> seeds;
  for (const FadingRow& row : table.rows) {
    schemes.push_back(row.scheme);
    seeds.push_back(static_cast<int64_t>(row.runs.size()));
  }
  const FadingPlan& plan = table.plan;
  writer.write("/fading/scheme", schemes);
  writer.write("/fading/seeds", at::tensor(seeds, at::kLong));
  writer.write("/fading/length", at::tensor(plan.lengths, at::kLong));
  for (size_t m = 0; m < kFadingMeasures; ++m) {
    std::vector<double> values;
    for (const FadingRow& row : table.rows) {
      for (const MeanInterval& interval : row.intervals[m])
        values.insert(values.end(), {interval.mean, interval.ci95_low, interval.ci95_high});
    }
    writer.write(fmt::format("/fading/{}", kFadingNames[m]),
                 at::tensor(values, at::kDouble).view({-1, static_cast<int64_t>(plan.lengths.size()), 3}));
  }
  writer.attribute("/fading", "theta", plan.theta);
  writer.attribute("/fading", "scaling", plan.scaling);
  writer.attribute("/fading", "correspondence_weight", plan.correspondence);
  writer.attribute("/fading", "steps", plan.steps);
  writer.attribute("/fading", "trained_lengths", fmt::format("{}", fmt::join(plan.trained, " ")));
  writer.attribute("/fading", "questions_seen", plan.asked[0]);
  writer.attribute("/fading", "questions_unseen", plan.asked[1]);
  writer.commit();
}

void draw_fading(const std::filesystem::path& file, const FadingTable& table) {
  const FadingPlan& plan = table.plan;
  const std::vector<double> lengths(plan.lengths.begin(), plan.lengths.end());
  DistanceAxis axis(at::tensor(lengths, at::kDouble), std::nullopt);
  axis.axis.label = "tokens of text between picture and question";
  axis.axis.ticks.clear();
  for (size_t i = 0; i < lengths.size(); ++i)
    axis.axis.ticks.emplace_back(axis.position[i], length_text(plan.lengths[i]));
  Figure figure;
  figure.columns = 2;
  figure.panel_height_cm = 6.5;
  figure.title = "Text between picture and question (bands: 95 % intervals over the seeds)";
  if (!plan.trained.empty()) {
    const auto [least, most] = std::minmax_element(plan.trained.begin(), plan.trained.end());
    figure.note = fmt::format("trained with {} to {} tokens; dashed: DIPE on the same ids", *least, *most);
  }
  constexpr std::array<const char*, kFadingMeasures> kTitles = {
      "Asked for the glyph of a colour, seen grids", "unseen grids",
      "Attention of the asking token on the picture, seen grids", "unseen grids"};
  for (size_t m = 0; m < kFadingMeasures; ++m) {
    Panel panel = length_panel(table, axis, m);
    panel.title = kTitles.at(m);
    panel.y.label = m < kFadingAnswers ? "share right" : "share of attention";
    figure.panels.push_back(std::move(panel));
  }
  draw_figure(figure, file, /*force=*/true);
}

}  // namespace ropescope::miniature
