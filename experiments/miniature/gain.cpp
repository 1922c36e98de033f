#include "gain.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <ATen/ops/tensor.h>

#include "ropescope/analysis/paired_tests.h"
#include "ropescope/core/errors.h"
#include "ropescope/io/figure.h"

namespace ropescope::miniature {

namespace {

constexpr std::array<const char*, kMeasures> kMeasureTitles = {
    "correspondence, seen grids", "correspondence, unseen grids", "answers, seen grids",
    "answers, unseen grids"};

bool is_of(const GainCurve& curve, const Row& with, const Row& without) {
  return curve.with == with.scheme && curve.without == without.scheme && curve.compress == with.compress &&
         curve.scaling == with.scaling && curve.correspondence == with.correspondence &&
         curve.steps == with.steps;
}

/// The same pair without a scaling.
bool is_plain_of(const GainCurve& plain, const GainCurve& curve) {
  return plain.scaling.empty() && plain.with == curve.with && plain.without == curve.without &&
         plain.compress == curve.compress && plain.correspondence == curve.correspondence &&
         plain.steps == curve.steps;
}

std::vector<int64_t> seeds_of_all(const GainCurve& curve, size_t measure) {
  std::vector<int64_t> common = curve.points.front().gains[measure].seeds;
  for (const GainPoint& point : curve.points) {
    const std::vector<int64_t>& seeds = point.gains[measure].seeds;
    std::erase_if(common,
                  [&](int64_t seed) { return std::find(seeds.begin(), seeds.end(), seed) == seeds.end(); });
  }
  return common;
}

double gain_of(const GainPoint& point, size_t measure, int64_t seed) {
  const Difference& gain = point.gains[measure];
  const auto place = std::find(gain.seeds.begin(), gain.seeds.end(), seed) - gain.seeds.begin();
  return gain.values.at(static_cast<size_t>(place));
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// a without its part along `along`.
void take_away(std::vector<double>& a, const std::vector<double>& along) {
  const double share = dot(a, along) / dot(along, along);
  for (size_t i = 0; i < a.size(); ++i) a[i] -= share * along[i];
}

std::string interval_text(const MeanInterval& interval, double p) {
  if (!std::isfinite(interval.mean)) return "—";
  std::string text = fmt::format("{:+.3f}", interval.mean);
  if (std::isfinite(interval.ci95_low)) {
    text += fmt::format(" [{:+.3f}, {:+.3f}], p {:.3f}", interval.ci95_low, interval.ci95_high, p);
  }
  return text;
}

std::string end_text(const std::optional<double>& theta, int64_t longest) {
  if (!theta) return "none";
  return fmt::format("{} ({})", number_label(*theta), number_label(*theta * static_cast<double>(longest)));
}

bool is_asked(const GainCurve& curve, size_t measure) {
  return std::any_of(curve.points.begin(), curve.points.end(),
                     [&](const GainPoint& point) { return !point.gains[measure].values.empty(); });
}

/// Of a measure that is asked.
const GainPoint& greatest_point(const GainCurve& curve, size_t measure) {
  const auto mean_of = [&](const GainPoint& point) {
    const Difference& gain = point.gains[measure];
    return gain.values.empty() ? -std::numeric_limits<double>::infinity() : gain.interval.mean;
  };
  return *std::max_element(curve.points.begin(), curve.points.end(),
                           [&](const GainPoint& a, const GainPoint& b) { return mean_of(a) < mean_of(b); });
}

/// A point with its interval, and nothing that joins it to others; no point where nothing was asked.
void add_point(Panel& panel, const std::string& label, const std::string& colour, double x,
               const MeanInterval& gain) {
  if (!std::isfinite(gain.mean)) return;
  Series point, whisker;
  point.label = label;
  point.x = {x};
  point.y = {gain.mean};
  point.points = true;
  point.colour = whisker.colour = colour;
  panel.series.push_back(std::move(point));
  if (!std::isfinite(gain.ci95_low)) return;
  whisker.x = {x, x};
  whisker.y = {gain.ci95_low, gain.ci95_high};
  panel.series.push_back(std::move(whisker));
}

}  // namespace

std::string GainCurve::name() const {
  std::string name = fmt::format("{} − {}", with, without);
  if (!compress.empty()) name += fmt::format(" ({})", compress);
  if (correspondence == 0) name += ", answers as targets";
  return scaling.empty() ? name : name + ", " + scaling;
}

std::vector<GainCurve> gain_curves(const std::vector<Row>& rows, const std::vector<Comparison>& comparisons) {
  std::vector<GainCurve> curves;
  for (const Comparison& comparison : comparisons) {
    const Row &with = rows[comparison.with], &without = rows[comparison.without];
    if (!with.map.empty() || with.compress != without.compress ||
        without_alignment(with.scheme) != without.scheme) {
      continue;
    }
    auto curve = std::find_if(curves.begin(), curves.end(),
                              [&](const GainCurve& known) { return is_of(known, with, without); });
    if (curve == curves.end()) {
      curve = curves.insert(
          curve,
          {with.scheme, without.scheme, with.scaling, with.compress, with.correspondence, with.steps, 0, {}});
    }
    for (const Run& run : with.runs) curve->longest = std::max(curve->longest, run.longest);
    curve->points.push_back({with.theta, comparison.differences});
  }
  for (GainCurve& curve : curves) {
    std::sort(curve.points.begin(), curve.points.end(),
              [](const GainPoint& a, const GainPoint& b) { return a.theta < b.theta; });
  }
  const std::vector<GainCurve> all = curves;
  std::erase_if(curves, [&](const GainCurve& curve) {
    return std::none_of(all.begin(), all.end(), [&](const GainCurve& plain) {
      return plain.points.size() > 1 && is_plain_of(plain, curve);
    });
  });
  return curves;
}

GainEnds gain_ends(const GainCurve& curve, size_t measure) {
  GainEnds ends;
  const auto has_gain = [&](const GainPoint& point) {
    const Difference& gain = point.gains[measure];
    return gain.resolved() && gain.interval.mean > 0;
  };
  for (const GainPoint& point : curve.points) {
    if (!has_gain(point)) continue;
    if (!ends.lowest) ends.lowest = point.theta;
    ends.highest = point.theta;
  }
  for (const GainPoint& point : curve.points) {
    if (ends.lowest && point.theta > *ends.lowest && point.theta < *ends.highest && !has_gain(point)) {
      ends.open.push_back(point.theta);
    }
  }
  return ends;
}

GainTrend gain_trend(const GainCurve& curve, size_t measure) {
  const size_t count = curve.points.size();
  GainTrend trend = {{std::nan(""), std::nan(""), std::nan(""), 0},
                     {std::nan(""), std::nan(""), std::nan(""), 0}};
  if (count < 2) return trend;
  const std::vector<double> ones(count, 1.0);
  std::vector<double> line, arch;
  for (const GainPoint& point : curve.points) line.push_back(std::log10(point.theta));
  take_away(line, ones);
  for (const double x : line) arch.push_back(x * x);
  take_away(arch, ones);
  take_away(arch, line);
  std::vector<double> slopes, bends;
  for (const int64_t seed : seeds_of_all(curve, measure)) {
    std::vector<double> gains;
    for (const GainPoint& point : curve.points) gains.push_back(gain_of(point, measure, seed));
    slopes.push_back(dot(gains, line) / dot(line, line));
    if (count > 2) bends.push_back(dot(gains, arch) / dot(arch, arch));
  }
  if (slopes.empty()) return trend;
  trend.slope = mean_interval(slopes);
  trend.slope_p = sign_flip_p(slopes);
  if (count > 2) {
    trend.bend = mean_interval(bends);
    trend.bend_p = sign_flip_p(bends);
  }
  return trend;
}

std::string gain_table(const std::vector<GainCurve>& curves) {
  if (curves.empty()) return "";
  std::string text = fmt::format(
      "| gain over θ | measure | resolved from θ (θ · {0} tokens) | to θ | not between | greatest gain | at θ "
      "| a decade of θ more | bend |\n|---|---|---|---|---|---|---|---|---|\n",
      curves.front().longest);
  for (const GainCurve& curve : curves) {
    if (curve.points.size() == 1) continue;  // it stands among the differences
    for (size_t m = 0; m < kMeasures; ++m) {
      if (!is_asked(curve, m)) continue;
      const GainEnds ends = gain_ends(curve, m);
      const GainTrend trend = gain_trend(curve, m);
      const GainPoint& greatest = greatest_point(curve, m);
      std::vector<std::string> open;
      for (const double theta : ends.open) open.push_back(number_label(theta));
      text += fmt::format("| {} | {} | {} | {} | {} | {} | {} | {} | {} |\n", curve.name(), kMeasureTitles[m],
                          end_text(ends.lowest, curve.longest), end_text(ends.highest, curve.longest),
                          open.empty() ? "—" : fmt::format("{}", fmt::join(open, ", ")),
                          gain_text(greatest.gains[m].interval), number_label(greatest.theta),
                          interval_text(trend.slope, trend.slope_p), interval_text(trend.bend, trend.bend_p));
    }
  }
  return text +
         fmt::format(
             "\nResolved: above 0, p < {} after Holm's correction over the table's comparisons. In brackets behind θ: θ times the "
             "longest sequence. Slope and bend: mean over the seeds of a straight line's and a parabola's coefficient over log10 θ; "
             "their p are not corrected.\n",
             kResolvedBelow);
}

std::string gain_csv(const std::vector<GainCurve>& curves) {
  std::string text =
      "scheme,other_scheme,correspondence_weight,planned_steps,scaling,theta,longest_sequence,measure,seeds,gain,low,high,"
      "p,p_holm,resolved,compress\n";
  for (const GainCurve& curve : curves) {
    for (const GainPoint& point : curve.points) {
      for (size_t m = 0; m < kMeasures; ++m) {
        const Difference& gain = point.gains[m];
        text += fmt::format(
            "\"{}\",\"{}\",{:g},{},{},{:g},{},{},{},{:.5f},{:.5f},{:.5f},{:.6f},{:.6f},{},\"{}\"\n",
            curve.with, curve.without, curve.correspondence, curve.steps, curve.scaling, point.theta,
            curve.longest, kMeasureNames[m], gain.values.size(), gain.interval.mean, gain.interval.ci95_low,
            gain.interval.ci95_high, gain.p, gain.adjusted, gain.resolved() ? 1 : 0, curve.compress);
      }
    }
  }
  return text;
}

void write_gain(ResultWriter& writer, const std::vector<GainCurve>& curves) {
  for (size_t c = 0; c < curves.size(); ++c) {
    const GainCurve& curve = curves[c];
    const std::string group = fmt::format("/gain/{}", c);
    std::vector<double> thetas;
    std::vector<int64_t> seeds, resolved;
    for (const GainPoint& point : curve.points) {
      thetas.push_back(point.theta);
      seeds.push_back(static_cast<int64_t>(point.gains.back().seeds.size()));
      for (const Difference& gain : point.gains) resolved.push_back(gain.resolved() ? 1 : 0);
    }
    writer.write(group + "/theta", at::tensor(thetas, at::kDouble));
    writer.write(group + "/seeds", at::tensor(seeds, at::kLong));
    writer.write(group + "/resolved",
                 at::tensor(resolved, at::kLong).view({-1, static_cast<int64_t>(kMeasures)}));
    for (size_t m = 0; m < kMeasures; ++m) {
      std::vector<double> values;
      for (const GainPoint& point : curve.points) {
        const MeanInterval& gain = point.gains[m].interval;
        values.insert(values.end(), {gain.mean, gain.ci95_low, gain.ci95_high});
      }
      writer.write(fmt::format("{}/{}", group, kMeasureNames[m]),
                   at::tensor(values, at::kDouble).view({-1, 3}));
    }
    writer.attribute(group, "scheme", curve.with);
    writer.attribute(group, "other_scheme", curve.without);
    writer.attribute(group, "scaling", curve.scaling);
    writer.attribute(group, "compress", curve.compress);
    writer.attribute(group, "longest_sequence", static_cast<double>(curve.longest));
  }
}

void draw_gain(const std::filesystem::path& file, const std::vector<GainCurve>& curves) {
  std::set<double> thetas;
  for (const GainCurve& curve : curves) {
    for (const GainPoint& point : curve.points) thetas.insert(point.theta);
  }
  Figure figure;
  figure.columns = 2;
  figure.panel_height_cm = 6.0;
  figure.title = "ID-Align's gain under every base of the rotation";
  for (size_t m = 0; m < kMeasures; ++m) {
    Panel panel;
    panel.title = kMeasureTitles[m];
    panel.x.label = "θ";
    panel.x.log = true;
    panel.x.low = *thetas.begin() / 1.5;
    panel.x.high = *thetas.rbegin() * 1.5;
    for (const double theta : thetas) {
      const double decade = std::round(std::log10(theta));
      const bool whole = std::abs(std::log10(theta) - decade) < 1e-9;
      panel.x.ticks.emplace_back(theta, whole ? number_label(theta) : "");
    }
    panel.y.label = "gain, share right";
    panel.zero_line = true;
    double beside = 1;  // scalings of one theta stand side by side
    for (size_t c = 0; c < curves.size(); ++c) {
      const GainCurve& curve = curves[c];
      const std::string colour = curve_colour(c, curves.size());
      if (curve.points.size() == 1) {
        beside *= 1.25;
        add_point(panel, curve.name(), colour, curve.points[0].theta * beside,
                  curve.points[0].gains[m].interval);
        continue;
      }
      Series series;
      series.label = curve.name();
      series.colour = colour;
      for (const GainPoint& point : curve.points) {
        const MeanInterval& gain = point.gains[m].interval;
        if (!std::isfinite(gain.mean)) continue;
        const bool known = std::isfinite(gain.ci95_low);
        series.x.push_back(point.theta);
        series.y.push_back(gain.mean);
        series.low.push_back(known ? gain.ci95_low : gain.mean);
        series.high.push_back(known ? gain.ci95_high : gain.mean);
      }
      if (!series.x.empty()) panel.series.push_back(std::move(series));
    }
    if (!panel.series.empty()) figure.panels.push_back(std::move(panel));
  }
  draw_figure(figure, file, /*force=*/true);
}

}  // namespace ropescope::miniature
