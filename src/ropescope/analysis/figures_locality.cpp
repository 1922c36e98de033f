#include "ropescope/analysis/figures_locality.h"

#include <cmath>

#include <fmt/format.h>

#include <ATen/ops/tensor.h>

#include "ropescope/analysis/figure_data.h"

namespace ropescope {

namespace {

constexpr int64_t kMostLocalityCurves = 12, kMostLocalityRows = 2;

/// One of the two probabilities: its datasets and what a figure calls it.
struct ShownShare {
  const char* name;
  const char* ends;
  const char* title;
  const char* label;
};
constexpr ShownShare kShownShares[] = {
    {"near_preferred", "near", "near keys preferred", "P(key scores more than its copy farther away)"},
    {"order_flips", "order", "order flips", "P(order of two keys changes when both move)"}};

struct LocalityAxes : BaseAxis {
  at::Tensor length;
  int64_t lengths() const { return length.size(0); }
};

LocalityAxes read_locality_axes(const ResultReader& result) {
  return {read_bases(result, "/locality"), read_axes(result, "/locality/length", 1)};
}

struct ShareCurves {
  at::Tensor mean, low, high;
};

ShareCurves read_share(const ResultReader& result, const std::string& group, const ShownShare& share,
                       const std::vector<int64_t>& shape) {
  const std::string ends = group + "/" + share.ends;
  return {read_shaped(result, group + "/" + share.name, shape),
          read_shaped(result, ends + "_ci95_low", shape), read_shaped(result, ends + "_ci95_high", shape)};
}

constexpr const char* kLengthAxis = "length of the context (tokens, K = 1024)";

/// At most six of the lengths, one as far from the next as the others are.
std::vector<std::pair<double, std::string>> length_ticks(const std::vector<double>& positions,
                                                         const std::vector<double>& lengths) {
  std::vector<std::pair<double, std::string>> ticks;
  const size_t step = (lengths.size() + 5) / 6;
  for (size_t n = 0; n < lengths.size(); n += step) {
    const bool whole = lengths[n] > 0 && std::fmod(lengths[n], 1024) == 0;
    ticks.emplace_back(positions[n],
                       whole ? fmt::format("{:.0f}K", lengths[n] / 1024) : fmt::format("{:.0f}", lengths[n]));
  }
  return ticks;
}

Panel length_panel(const DistanceAxis& length, const ShownShare& share, const std::string& title) {
  Panel panel;
  panel.title = title;
  panel.x = length.axis;
  panel.x.label = kLengthAxis;
  panel.x.ticks = length_ticks(length.position, length.distance);
  panel.y.label = share.label;
  return panel;
}

Series length_series(std::string label, const DistanceAxis& length, const at::Tensor& mean,
                     const at::Tensor& low, const at::Tensor& high, std::string colour) {
  return {std::move(label), length.position,   to_vector(mean),  to_vector(low),
          to_vector(high),  std::move(colour), /*dashed=*/false, /*points=*/length.position.size() == 1};
}

Series chance(const DistanceAxis& length) {
  return {"chance", {*length.axis.low, *length.axis.high}, {0.5, 0.5}, {}, {}, "#888888", true, false};
}

Figure two_columns(std::string title, std::vector<Panel> panels, const std::vector<std::string>& notes) {
  Figure figure;
  figure.title = std::move(title);
  figure.note = joined_notes(notes);
  figure.panels = std::move(panels);
  figure.columns = 2;
  return figure;
}

}  // namespace

Figure locality_curves(const ResultReader& result, const FigureSelection& selection) {
  const LocalityAxes axes = read_locality_axes(result);
  const DistanceAxis length(axes.length, selection.max_distance);
  const std::vector<int64_t> shown =
      select_values(selection.theta, axes.chosen_by(), kMostLocalityCurves, "theta");
  std::vector<Panel> panels;
  for (const ShownShare& share : kShownShares) {
    const ShareCurves curves = read_share(result, "/locality", share, {axes.thetas(), axes.lengths()});
    Panel panel = length_panel(length, share, share.title);
    for (size_t i = 0; i < shown.size(); ++i) {
      const int64_t t = shown[i];
      panel.series.push_back(length_series(axes.label(t), length, curves.mean[t], curves.low[t],
                                           curves.high[t], curve_colour(i, shown.size())));
    }
    panel.series.push_back(chance(length));
    panels.push_back(std::move(panel));
  }
  return two_columns("What is left of nearness and of the order of keys (bands: 95% intervals)",
                     std::move(panels), {sources_of(result, "/locality"), axes.drawn_note(shown.size())});
}

Figure locality_by_kind(const ResultReader& result, const FigureSelection& selection) {
  const LocalityAxes axes = read_locality_axes(result);
  const DistanceAxis length(axes.length, selection.max_distance);
  const std::vector<std::string> names = result.read_strings("/locality/kinds/name");
  const auto kinds = static_cast<int64_t>(names.size());
  const std::vector<int64_t> shown = spread_indices(kinds, kMostLocalityCurves);
  const std::vector<int64_t> thetas =
      select_values(selection.theta, axes.chosen_by(), kMostLocalityRows, "theta");
  std::vector<Panel> panels;
  for (const int64_t t : thetas) {
    for (const ShownShare& share : kShownShares) {
      const ShareCurves curves =
          read_share(result, "/locality/kinds", share, {axes.thetas(), axes.lengths(), kinds});
      Panel panel = length_panel(length, share, fmt::format("{}, {}", share.title, axes.label(t)));
      for (size_t i = 0; i < shown.size(); ++i) {
        const auto of_kind = [&](const at::Tensor& values) { return values[t].select(1, shown[i]); };
        panel.series.push_back(length_series(names[static_cast<size_t>(shown[i])], length,
                                             of_kind(curves.mean), of_kind(curves.low), of_kind(curves.high),
                                             curve_colour(i, shown.size())));
      }
      panel.series.push_back(chance(length));
      panels.push_back(std::move(panel));
    }
  }
  return two_columns(
      "Nearness and the order of keys in each kind of layers (bands: 95% intervals)", std::move(panels),
      {sources_of(result, "/locality"), axes.drawn_note(thetas.size()),
       static_cast<int64_t>(shown.size()) < kinds ? fmt::format("{} of {} kinds drawn", shown.size(), kinds)
                                                  : ""});
}

Figure locality_by_layer(const ResultReader& result, const FigureSelection& selection) {
  const LocalityAxes axes = read_locality_axes(result);
  const std::vector<double> lengths = to_vector(axes.length);
  std::vector<double> columns;  // places in the map
  for (int64_t n = 0; n < axes.lengths(); ++n) columns.push_back(static_cast<double>(n));
  const std::vector<int64_t> thetas =
      select_values(selection.theta, axes.chosen_by(), kMostLocalityRows, "theta");
  std::vector<Panel> panels;
  for (const int64_t t : thetas) {
    for (const ShownShare& share : kShownShares) {
      const std::string dataset = fmt::format("/locality/by_layer/{}", share.name);
      const at::Tensor values = read_axes(result, dataset, 3);
      read_shaped(result, dataset, {axes.thetas(), axes.lengths(), values.size(2)});
      const std::vector<int64_t> layers = chosen_layers(selection, values.transpose(1, 2));
      Panel panel;
      panel.title = fmt::format("{}, {}", share.title, axes.label(t));
      panel.map = HeatMap{};
      panel.map->rows = static_cast<int64_t>(layers.size());
      panel.map->columns = axes.lengths();
      panel.map->values =
          to_vector(values[t].transpose(0, 1).index_select(0, at::tensor(layers, at::kLong)).sub(0.5));
      panel.map->label = "P − ½";
      panel.map->limit = 0.5;
      panel.x.label = kLengthAxis;
      panel.x.ticks = length_ticks(columns, lengths);
      panel.y.label = "layer";
      panel.y.ticks = row_ticks(layers, 1.0);
      panels.push_back(std::move(panel));
    }
  }
  return two_columns("Nearness and the order of keys in each layer, from chance", std::move(panels),
                     {sources_of(result, "/locality"), axes.drawn_note(thetas.size())});
}

}  // namespace ropescope
