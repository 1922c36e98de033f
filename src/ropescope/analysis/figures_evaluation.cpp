#include "ropescope/analysis/figures_evaluation.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/format.h>

#include <ATen/ops/tensor.h>

#include "ropescope/analysis/figure_data.h"
#include "ropescope/analysis/figures_prior.h"
#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

std::string text_attribute(const ResultReader& result, const std::string& object, const char* name,
                           const std::string& fallback) {
  if (!result.has_attribute(object, name)) return fallback;
  const Attribute value = result.attribute(object, name);
  const auto* text = std::get_if<std::string>(&value);
  return text == nullptr ? fallback : *text;
}

/// Values at each length, with their band.
struct Values {
  std::vector<double> mean, low, high;
};

/// One scheme of one run.
struct ContextCurve {
  std::string label;
  std::vector<double> lengths;
  Values percent, share;
  std::vector<double> uniform;
};

std::vector<ContextCurve> read_curves(const ResultReader& result, const std::string& run) {
  const std::string root = "/long_context";
  const at::Tensor lengths = read_axes(result, root + "/text_lengths", 1);
  const std::vector<std::string> schemes = read_schemes(result, root + "/scheme");
  std::vector<ContextCurve> curves;
  for (const std::string& scheme : schemes) {
    const std::string group = scheme_group(root, scheme);
    const auto column = [&](const std::string& name) {
      return to_vector(read_shaped(result, group + "/" + name, {lengths.size(0)}));
    };
    ContextCurve curve{scheme, to_vector(lengths), {}, {}, column("fading/uniform_share")};
    if (!run.empty()) curve.label = schemes.size() == 1 ? run : run + ", " + scheme;
    curve.percent = {column("figure/percent"), column("figure/ci95_low"), column("figure/ci95_high")};
    curve.share = {column("fading/visual_share"), column("fading/ci95_low"), column("fading/ci95_high")};
    curves.push_back(std::move(curve));
  }
  return curves;
}

/// All lengths of all curves; a tick each where they are few.
DistanceAxis axis_of(const std::vector<ContextCurve>& curves) {
  std::set<double> lengths;
  for (const ContextCurve& curve : curves) lengths.insert(curve.lengths.begin(), curve.lengths.end());
  const std::vector<double> all(lengths.begin(), lengths.end());
  DistanceAxis axis(at::tensor(all, at::kDouble), std::nullopt);
  axis.axis.label = "tokens of text between picture and question";
  if (all.size() > 12) return axis;
  axis.axis.ticks.clear();
  for (size_t i = 0; i < all.size(); ++i) {
    const bool binary = all[i] >= 1024 && std::fmod(all[i], 1024.0) == 0;
    axis.axis.ticks.emplace_back(axis.position[i],
                                 binary ? fmt::format("{:g}K", all[i] / 1024) : fmt::format("{:g}", all[i]));
  }
  return axis;
}

std::vector<double> places(const DistanceAxis& axis, const std::vector<double>& lengths) {
  std::vector<double> places;
  for (const double length : lengths) {
    const auto at = std::find(axis.distance.begin(), axis.distance.end(), length) - axis.distance.begin();
    places.push_back(axis.position.at(static_cast<size_t>(at)));
  }
  return places;
}

Panel context_panel(const std::vector<ContextCurve>& curves, const DistanceAxis& axis,
                    const Values ContextCurve::*values, const std::string& label) {
  Panel panel;
  panel.x = axis.axis;
  panel.y.label = label;
  panel.y.low = 0.0;
  for (size_t i = 0; i < curves.size(); ++i) {
    const Values& of = curves[i].*values;
    Series series;
    series.label = short_label(curves[i].label);
    series.x = places(axis, curves[i].lengths);
    series.y = of.mean;
    series.low = of.low;
    series.high = of.high;
    series.colour = curve_colour(i, curves.size());
    panel.series.push_back(std::move(series));
  }
  return panel;
}

bool any_finite(const Panel& panel) {
  return std::any_of(panel.series.begin(), panel.series.end(), [](const Series& series) {
    return std::any_of(series.y.begin(), series.y.end(), [](double y) { return std::isfinite(y); });
  });
}

std::string thousands(double tokens) {
  return tokens >= 1000 ? fmt::format("{:g}K", tokens / 1000) : fmt::format("{:g}", tokens);
}

}  // namespace

Figure fading_figure(const std::vector<FadingRunFile>& runs) {
  std::vector<ContextCurve> curves;
  std::string benchmark, model;
  for (const FadingRunFile& run : runs) {
    const ResultReader result(run.file);
    const std::string own = text_attribute(result, "/evaluation", "benchmark", "benchmark");
    if (!benchmark.empty() && own != benchmark) {
      throw InputError("{}: expected answers to {} as in the first run, found {}", run.file.string(),
                       benchmark, own);
    }
    benchmark = own;
    model = text_attribute(result, "/evaluation", "model", "the model");
    for (ContextCurve& curve : read_curves(result, run.label)) curves.push_back(std::move(curve));
  }
  if (curves.empty()) throw UsageError("expected at least one run");
  const DistanceAxis axis = axis_of(curves);
  Figure figure;
  figure.panels = {context_panel(curves, axis, &ContextCurve::percent, benchmark + ", %")};
  Panel share = context_panel(curves, axis, &ContextCurve::share, "share of attention on visual tokens");
  if (any_finite(share)) {
    const ContextCurve& first = curves.front();
    share.series.push_back(
        {"uniform attention", places(axis, first.lengths), first.uniform, {}, {}, "#888888", true, false});
    figure.panels.push_back(std::move(share));
  }
  figure.columns = static_cast<int>(figure.panels.size());
  figure.title = fmt::format("Text between picture and question{} (bands: 95% intervals)",
                             runs.size() == 1 ? ": " + model : "");
  return figure;
}

Figure evaluation_fading(const ResultReader& result, const FigureSelection&) {
  return fading_figure({{"", result.path()}});
}

Figure niah_map(const ResultReader& result, const FigureSelection&) {
  const at::Tensor mean = read_axes(result, "/niah/mean", 2);
  const at::Tensor lengths = read_shaped(result, "/niah/length_from", {mean.size(1)});
  const at::Tensor depths = read_shaped(result, "/niah/depth_from", {mean.size(0)});
  const at::Tensor count = read_shaped(result, "/niah/count", mean.sizes().vec());
  Panel panel;
  panel.map = HeatMap{};
  panel.map->rows = mean.size(0);
  panel.map->columns = mean.size(1);
  // Row 0 is drawn at the bottom; needles at the beginning of the context belong to the top.
  panel.map->values = to_vector(mean.flip(0));
  panel.map->label = "accuracy";
  panel.map->is_signed = false;
  panel.map->limit = 1.0;
  panel.x.label = "tokens of the context, from";
  panel.y.label = "depth of the needle";
  for (int64_t column = 0; column < mean.size(1); ++column) {
    panel.x.ticks.emplace_back(column, thousands(lengths[column].item<double>()));
  }
  for (int64_t row = 0; row < mean.size(0); ++row) {
    const double from = depths[row].item<double>();
    const double to = row + 1 < mean.size(0) ? depths[row + 1].item<double>() : 1.0;
    panel.y.ticks.emplace_back(mean.size(0) - 1 - row, fmt::format("{:.1f}-{:.1f}", from, to));
  }
  Figure figure;
  figure.title =
      fmt::format("MM-NIAH, {}: {:.0f} questions; grey: none asked",
                  text_attribute(result, "/evaluation", "model", "the model"), count.sum().item<double>());
  figure.panels = {panel};
  figure.panel_height_cm = 8.0;
  return figure;
}

std::filesystem::path evaluation_file(const std::filesystem::path& given) {
  std::error_code ignored;
  const bool folder = std::filesystem::is_directory(given, ignored);
  return folder && std::filesystem::exists(given / "result.h5", ignored) ? given / "result.h5" : given;
}

bool is_fading_run(const std::filesystem::path& given) {
  std::error_code ignored;
  const std::filesystem::path file = evaluation_file(given);
  return std::filesystem::is_regular_file(file, ignored) && ResultReader(file).has("/long_context/scheme");
}

}  // namespace ropescope
