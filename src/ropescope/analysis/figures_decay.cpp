#include "ropescope/analysis/figures_decay.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include <ATen/ops/tensor.h>

#include "ropescope/analysis/figure_data.h"

namespace ropescope {

namespace {

constexpr int64_t kMostCurves = 12;
constexpr const char* kInnerProduct = "mean inner product q·k (not divided by √d)";

struct DecayAxes : BaseAxis {
  at::Tensor distance;
  int64_t distances() const { return distance.size(0); }
};

DecayAxes read_decay_axes(const ResultReader& result) {
  return {read_bases(result, "/decay"), read_axes(result, "/decay/distance", 1)};
}

/// What is not as usual, for titles: another encoding, the paper's printed sign.
std::string sign_text(const ResultReader& result) {
  std::string unusual;
  if (result.has_attribute("/decay", "encoding")) {
    const Attribute encoding = result.attribute("/decay", "encoding");
    const auto* name = std::get_if<std::string>(&encoding);
    if (name != nullptr && *name == "pope") unusual = " under PoPE";
  }
  if (!result.has_attribute("/decay", "sign")) return unusual;
  const Attribute sign = result.attribute("/decay", "sign");
  const auto* value = std::get_if<int64_t>(&sign);
  return unusual + (value != nullptr && *value > 0 ? " (paper's sign: key later)" : "");
}

/// Panels of one figure, as a grid that stays legible.
Figure grid(std::string title, std::vector<Panel> panels, double tall_cm, std::vector<std::string> notes) {
  Figure figure;
  figure.title = std::move(title);
  figure.note = joined_notes(notes);
  figure.columns = panels.size() > 1 ? 2 : 1;
  figure.panel_height_cm = panels.size() > 1 ? tall_cm * 0.85 : tall_cm;
  figure.panels = std::move(panels);
  return figure;
}

Panel map_panel(const at::Tensor& rows, const DecayAxes& axes, int64_t t, const FigureSelection& selection) {
  const DistanceMap map = distance_map(rows_to_unit_peak(rows), axes.distance, selection.max_distance);
  Panel panel;
  panel.title = axes.label(t);
  panel.map = map.map;
  panel.map->label = "q·k / row's largest |q·k|";
  panel.map->limit = 1.0;
  panel.x = map.x;
  return panel;
}

/// Curves with intervals, one a kind, under one base after the other.
struct KindCurves {
  std::vector<std::string> names;
  int64_t kinds = 0;
  at::Tensor mean, low, high;  // [thetas, kinds, distances]
  std::vector<int64_t> shown;

  KindCurves(const ResultReader& result, const std::string& group, const DecayAxes& axes)
      : names(result.read_strings(group + "/name")), kinds(static_cast<int64_t>(names.size())) {
    const std::vector<int64_t> shape = {axes.thetas(), kinds, axes.distances()};
    mean = read_shaped(result, group + "/mean", shape);
    low = read_shaped(result, group + "/ci95_low", shape);
    high = read_shaped(result, group + "/ci95_high", shape);
    shown = spread_indices(kinds, kMostCurves);
  }

  /// The panel of base number t.
  Panel panel(const DecayAxes& axes, const DistanceAxis& distance, int64_t t) const {
    Panel panel;
    panel.title = axes.label(t);
    panel.x = distance.axis;
    panel.y.label = kInnerProduct;
    panel.zero_line = true;
    for (size_t i = 0; i < shown.size(); ++i) {
      const int64_t kind = shown[i];
      Series series;
      series.label = names[static_cast<size_t>(kind)];
      series.x = distance.position;
      series.y = to_vector(mean[t][kind]);
      series.low = to_vector(low[t][kind]);
      series.high = to_vector(high[t][kind]);
      series.colour = curve_colour(i, shown.size());
      panel.series.push_back(std::move(series));
    }
    return panel;
  }
};

}  // namespace

Figure decay_curves(const ResultReader& result, const FigureSelection& selection) {
  const DecayAxes axes = read_decay_axes(result);
  const at::Tensor mean = read_shaped(result, "/decay/mean", {axes.thetas(), axes.distances()});
  const bool bands = result.has("/decay/ci95_low") && result.has("/decay/ci95_high");
  const at::Tensor low =
      bands ? read_shaped(result, "/decay/ci95_low", {axes.thetas(), axes.distances()}) : mean;
  const at::Tensor high =
      bands ? read_shaped(result, "/decay/ci95_high", {axes.thetas(), axes.distances()}) : mean;
  const DistanceAxis distance(axes.distance, selection.max_distance);
  Panel panel;
  panel.x = distance.axis;
  panel.y.label = kInnerProduct;
  panel.zero_line = true;
  const std::vector<int64_t> shown = select_values(selection.theta, axes.chosen_by(), kMostCurves, "theta");
  for (const int64_t t : shown) {
    Series series;
    series.label = axes.label(t);
    series.x = distance.position;
    series.y = to_vector(mean[t]);
    if (bands) {
      series.low = to_vector(low[t]);
      series.high = to_vector(high[t]);
    }
    panel.series.push_back(std::move(series));
  }
  panel.title = bands ? "bands: 95% intervals" : "";
  return grid("Decay of the mean inner product with distance" + sign_text(result), {panel}, 9.0,
              {sources_of(result, "/decay"), axes.drawn_note(shown.size())});
}

Figure decay_by_kind(const ResultReader& result, const FigureSelection& selection) {
  const DecayAxes axes = read_decay_axes(result);
  const KindCurves curves(result, "/decay/kinds", axes);
  const std::vector<double> windows = to_vector(read_shaped(result, "/decay/kinds/window", {curves.kinds}));
  const std::vector<double> chunks = to_vector(read_shaped(result, "/decay/kinds/chunk", {curves.kinds}));
  const DistanceAxis distance(axes.distance, selection.max_distance);
  const size_t count = curves.shown.size();
  std::vector<Panel> panels;
  for (const int64_t t : select_values(selection.theta, axes.chosen_by(), kMostThetaPanels, "theta")) {
    Panel panel = curves.panel(axes, distance, t);
    double lowest = 0, highest = 0;
    for (const Series& series : panel.series) {
      for (const double y : series.y) {
        if (!std::isfinite(y)) continue;
        lowest = std::min(lowest, y);
        highest = std::max(highest, y);
      }
    }
    // Keys beyond it are seen by none of the kind's queries: what its curve does there plays no part in the model.
    for (size_t i = 0; i < count; ++i) {
      const auto kind = static_cast<size_t>(curves.shown[i]);
      const double edge = windows[kind] > 0 ? windows[kind] : chunks[kind];
      if (!(edge > 0) || edge < *distance.axis.low || edge > *distance.axis.high) continue;
      const char* word = windows[kind] > 0 ? "window" : "chunk";
      panel.series.push_back({fmt::format("{} of {}: {} tokens", word, curves.names[kind], edge),
                              {edge, edge},
                              {lowest, highest},
                              {},
                              {},
                              curve_colour(i, count),
                              true,
                              false});
    }
    panels.push_back(std::move(panel));
  }
  const size_t drawn = panels.size();
  return grid(
      "Decay in each kind of layers" + sign_text(result), std::move(panels), 9.0,
      {sources_of(result, "/decay"), axes.drawn_note(drawn),
       static_cast<int64_t>(count) < curves.kinds ? fmt::format("{} of {} kinds drawn", count, curves.kinds)
                                                  : ""});
}

Figure decay_by_tokens(const ResultReader& result, const FigureSelection& selection) {
  const DecayAxes axes = read_decay_axes(result);
  KindCurves curves(result, "/decay/tokens", axes);
  for (std::string& name : curves.names) std::replace(name.begin(), name.end(), '_', ' ');
  const DistanceAxis distance(axes.distance, selection.max_distance);
  std::vector<Panel> panels;
  for (const int64_t t : select_values(selection.theta, axes.chosen_by(), kMostThetaPanels, "theta")) {
    panels.push_back(curves.panel(axes, distance, t));
  }
  const size_t drawn = panels.size();
  return grid("Decay by the kinds of token that meet (query to key)" + sign_text(result), std::move(panels),
              9.0, {sources_of(result, "/decay"), axes.drawn_note(drawn)});
}

Figure decay_by_layer(const ResultReader& result, const FigureSelection& selection) {
  const DecayAxes axes = read_decay_axes(result);
  const at::Tensor values = read_axes(result, "/decay/by_layer", 3);
  read_shaped(result, "/decay/by_layer", {axes.thetas(), values.size(1), axes.distances()});
  const std::vector<int64_t> layers = chosen_layers(selection, values);
  std::vector<Panel> panels;
  for (const int64_t t : select_values(selection.theta, axes.chosen_by(), kMostThetaPanels, "theta")) {
    const at::Tensor rows = values[t].index_select(0, at::tensor(layers, at::kLong));
    Panel panel = map_panel(rows, axes, t, selection);
    panel.y.label = "layer";
    panel.y.ticks = row_ticks(layers, 1.0);
    panels.push_back(std::move(panel));
  }
  const size_t drawn = panels.size();
  return grid("Decay in each layer" + sign_text(result), std::move(panels), 9.0,
              {sources_of(result, "/decay"), axes.drawn_note(drawn)});
}

Figure decay_by_head(const ResultReader& result, const FigureSelection& selection) {
  const DecayAxes axes = read_decay_axes(result);
  const at::Tensor values = read_axes(result, "/decay/by_head", 4);
  const int64_t heads = values.size(2);
  read_shaped(result, "/decay/by_head", {axes.thetas(), values.size(1), heads, axes.distances()});
  const std::vector<int64_t> layers = chosen_layers(selection, values);
  std::vector<Panel> panels;
  for (const int64_t t : select_values(selection.theta, axes.chosen_by(), kMostThetaPanels, "theta")) {
    const at::Tensor rows =
        values[t].index_select(0, at::tensor(layers, at::kLong)).reshape({-1, axes.distances()});
    Panel panel = map_panel(rows, axes, t, selection);
    if (layers.size() == 1) {
      panel.title += ", layer " + std::to_string(layers.front());
      panel.y.label = "head";
      panel.y.ticks = row_ticks(spread_indices(heads, heads), 1.0);
    } else {
      panel.y.label = "layer (its " + std::to_string(heads) + " heads from bottom to top)";
      panel.y.ticks = row_ticks(layers, static_cast<double>(heads));
    }
    panels.push_back(std::move(panel));
  }
  const size_t drawn = panels.size();
  return grid("Decay in each head" + sign_text(result), std::move(panels), 12.0,
              {sources_of(result, "/decay"), axes.drawn_note(drawn)});
}

Figure decay_by_theta(const ResultReader& result, const FigureSelection& selection) {
  const DecayAxes axes = read_decay_axes(result);
  const at::Tensor mean = read_shaped(result, "/decay/mean", {axes.thetas(), axes.distances()});
  const DistanceMap map = distance_map(mean, axes.distance, selection.max_distance);
  Panel panel;
  panel.map = map.map;
  panel.map->label = kInnerProduct;
  panel.map->is_signed = mean.nan_to_num(0.0).min().item<double>() < 0;
  panel.x = map.x;
  panel.y.label = axes.scale.defined() ? "times the layers' own rotary base θ" : "rotary base θ";
  const at::Tensor& shown = axes.scale.defined() ? axes.scale : axes.theta;
  for (const int64_t t : spread_indices(axes.thetas(), 10)) {
    const double value = shown[t].item<double>();
    panel.y.ticks.emplace_back(
        static_cast<double>(t),
        std::isnan(value) ? "own" : number_label(std::stod(fmt::format("{:.3g}", value))));
  }
  return grid("Decay under each rotary base" + sign_text(result), {panel}, 9.0,
              {sources_of(result, "/decay")});
}

Figure decay_bound(const ResultReader& result, const FigureSelection& selection) {
  const DecayAxes axes = read_decay_axes(result);
  const at::Tensor mean = read_shaped(result, "/decay/mean", {axes.thetas(), axes.distances()});
  const at::Tensor bound = read_shaped(result, "/decay/abel_bound", {axes.thetas(), axes.distances()});
  const DistanceAxis distance(axes.distance, selection.max_distance);
  Panel panel;
  panel.title = "solid: |mean|; dashed: Abel bound (eq. 18)";
  panel.x = distance.axis;
  panel.y.label = kInnerProduct;
  panel.y.log = true;
  const std::vector<int64_t> shown = select_values(selection.theta, axes.chosen_by(), 5, "theta");
  for (size_t i = 0; i < shown.size(); ++i) {
    const at::Tensor size = mean[shown[i]].abs(), limit = bound[shown[i]];
    panel.series.push_back({axes.label(shown[i]),
                            distance.position,
                            to_vector(size),
                            {},
                            {},
                            curve_colour(i, shown.size()),
                            false,
                            false});
    panel.series.push_back(
        {"", distance.position, to_vector(limit), {}, {}, curve_colour(i, shown.size()), true, false});
    // A curve that crosses zero would stretch the axis without end.
    const double floor = size.nan_to_num(0.0).max().item<double>() * 1e-3;
    if (floor > 0) panel.y.low = std::min(panel.y.low.value_or(floor), floor);
  }
  return grid("Mean inner product and its bound" + sign_text(result), {panel}, 9.0,
              {sources_of(result, "/decay"), axes.drawn_note(shown.size())});
}

Figure decay_bands(const ResultReader& result, const FigureSelection& selection) {
  const DecayAxes axes = read_decay_axes(result);
  const at::Tensor parts = read_axes(result, "/decay/band_contribution", 3);
  const int64_t bands = parts.size(1);
  read_shaped(result, "/decay/band_contribution", {axes.thetas(), bands, axes.distances()});
  const DistanceAxis distance(axes.distance, selection.max_distance);
  std::vector<Panel> panels;
  for (const int64_t t : select_values(selection.theta, axes.chosen_by(), kMostThetaPanels, "theta")) {
    Panel panel;
    panel.title = axes.label(t);
    panel.x = distance.axis;
    panel.y.label = "part of the mean inner product";
    panel.zero_line = true;
    for (int64_t band = 0; band < bands; ++band) {
      Series series;
      series.label = "band " + std::to_string(band);
      if (band == 0) series.label += " (fastest)";
      if (band == bands - 1) series.label += " (slowest)";
      series.x = distance.position;
      series.y = to_vector(parts[t][band]);
      series.colour = ordered_colour(0.9 * static_cast<double>(band) /
                                     static_cast<double>(std::max<int64_t>(bands - 1, 1)));
      panel.series.push_back(std::move(series));
    }
    panels.push_back(std::move(panel));
  }
  const size_t drawn = panels.size();
  return grid("What each band of frequencies adds to the curve" + sign_text(result), std::move(panels), 8.5,
              {sources_of(result, "/decay"), axes.drawn_note(drawn)});
}

}  // namespace ropescope
