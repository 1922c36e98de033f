#include "ropescope/analysis/figures_pictures.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "ropescope/analysis/attention_study.h"
#include "ropescope/analysis/figure_data.h"
#include "ropescope/analysis/figures_prior.h"
#include "ropescope/analysis/picture_rasters.h"
#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

constexpr char kSchemes[] = "/attention/table/scheme";

bool first_scheme_holds(const ResultReader& result, const char* dataset) {
  if (!result.has(kSchemes)) return false;
  const std::vector<std::string> schemes = result.read_strings(kSchemes);
  return !schemes.empty() && result.has(attention_group(schemes.front()) + dataset);
}

double attribute_of(const ResultReader& result, const std::string& object, const char* name) {
  if (!result.has_attribute(object, name)) return NAN;
  const Attribute value = result.attribute(object, name);
  if (const auto* real = std::get_if<double>(&value)) return *real;
  if (const auto* whole = std::get_if<int64_t>(&value)) return static_cast<double>(*whole);
  return NAN;
}

/// Layer x head, ticks named by the model's numbers where they are few.
Panel head_map(const ResultReader& result, const std::string& group, const std::string& dataset,
               const std::string& label) {
  const at::Tensor values = read_axes(result, group + dataset, 2);
  const auto named = [&](const char* index, int64_t count) {
    std::vector<std::pair<double, std::string>> ticks;
    const std::vector<double> numbers = to_vector(read_shaped(result, group + index, {count}));
    const int64_t step = (count + 11) / 12;
    for (int64_t i = 0; i < count; i += step)
      ticks.emplace_back(static_cast<double>(i), fmt::format("{:.0f}", numbers[static_cast<size_t>(i)]));
    return ticks;
  };
  Panel panel;
  panel.map = HeatMap{};
  panel.map->rows = values.size(0);
  panel.map->columns = values.size(1);
  panel.map->values = to_vector(values);
  panel.map->label = label;
  panel.x.label = "query head";
  panel.x.ticks = named("/head_index", values.size(1));
  panel.y.label = "layer";
  panel.y.ticks = named("/layer_index", values.size(0));
  return panel;
}

/// The first raster of the first input, mean over layers.
Panel cell_map(const ResultReader& result, const std::string& group) {
  const std::string at = group + "/sink_cells/";
  const at::Tensor received = read_axes(result, at + "received", 2);
  const int64_t cells = received.size(1);
  const auto column = [&](const char* name) { return to_vector(read_shaped(result, at + name, {cells})); };
  const std::vector<double> raster = column("raster"), row = column("row"), place = column("column"),
                            mean = to_vector(received.mean(0));
  Raster drawn;
  for (size_t i = 0; i < raster.size(); ++i) {
    if (raster[i] != 0) continue;
    drawn.rows = std::max(drawn.rows, static_cast<int64_t>(row[i]) + 1);
    drawn.columns = std::max(drawn.columns, static_cast<int64_t>(place[i]) + 1);
  }
  if (drawn.rows < 1 || drawn.columns < 1 || drawn.columns > kMostCells / drawn.rows) {
    throw InputError("{}: {}: expected the cells of a grid", result.path().string(), at);
  }
  drawn.values.assign(static_cast<size_t>(drawn.rows * drawn.columns), NAN);
  for (size_t i = 0; i < raster.size(); ++i) {
    const auto r = static_cast<int64_t>(row[i]), c = static_cast<int64_t>(place[i]);
    if (raster[i] != 0 || r < 0 || c < 0) continue;
    drawn.values[static_cast<size_t>(r * drawn.columns + c)] = mean[i];
  }
  // Outlines: the corners, and between edge and interior.
  const double across = 1.0 / static_cast<double>(drawn.columns),
               down = 1.0 / static_cast<double>(drawn.rows);
  if (drawn.rows > 1 && drawn.columns > 1) {
    for (const double left : {0.0, 1 - across}) {
      for (const double top : {0.0, 1 - down}) drawn.boxes.push_back({left, top, left + across, top + down});
    }
  }
  if (drawn.rows > 2 && drawn.columns > 2) drawn.boxes.push_back({across, down, 1 - across, 1 - down});
  drawn.label = "attention / mean cell's";
  drawn.low = 0.0;
  Panel panel;
  panel.raster = std::move(drawn);
  return panel;
}

}  // namespace

bool sinks_apply(const ResultReader& result) {
  return first_scheme_holds(result, "/sinks/corner/times_uniform");
}

bool drift_applies(const ResultReader& result) {
  return first_scheme_holds(result, "/drift/rows/correlation");
}

Figure sink_maps(const ResultReader& result, const FigureSelection&) {
  Figure figure;
  double limit = 0;  // of all schemes: their colours mean the same
  for (const std::string& scheme : read_schemes(result, kSchemes)) {
    const std::string group = attention_group(scheme);
    const double uniform = attribute_of(result, group + "/sinks/corner", "uniform");
    Panel map = head_map(result, group, "/sinks/corner/times_uniform", "corners: share / uniform - 1");
    for (double& value : map.map->values) {
      value -= 1;
      if (std::isfinite(value)) limit = std::max(limit, std::abs(value));
    }
    map.title = fmt::format("{}: corners (uniform: {:.3g} %)", scheme, 100 * uniform);
    figure.panels.push_back(std::move(map));
    Panel cells = cell_map(result, group);
    cells.title = fmt::format("{}: each cell", scheme);
    figure.panels.push_back(std::move(cells));
  }
  for (Panel& panel : figure.panels) {
    if (panel.map && limit > 0) panel.map->limit = limit;
  }
  figure.columns = 2;
  figure.title = "Where on the picture the attention of the text behind it gathers";
  figure.note =
      joined_notes({sources_of(result, "/attention"), "right: first picture, mean over layers and heads"});
  figure.panel_height_cm = 6.5;
  return figure;
}

Figure drift_maps(const ResultReader& result, const FigureSelection&) {
  const std::vector<std::string> schemes = read_schemes(result, kSchemes);
  Figure figure;
  double limit = 0;  // of all panels: their colours mean the same
  for (const std::string& scheme : schemes) {
    for (const std::string axis : {"rows", "columns"}) {
      const std::string group = attention_group(scheme), at = group + "/drift/" + axis;
      const at::Tensor shift = read_axes(result, group + "/drift/shift", 1),
                       lag = read_axes(result, group + "/drift/lag", 1);
      const at::Tensor rho = read_axes(result, at + "/correlation", 4);
      if (rho.size(2) != lag.size(0) || rho.size(3) != shift.size(0)) {
        throw InputError("{}: {}/correlation: expected {} lags and {} shifts", result.path().string(), at,
                         lag.size(0), shift.size(0));
      }
      Panel panel;
      panel.map = HeatMap{};
      panel.map->rows = lag.size(0);
      panel.map->columns = shift.size(0);
      panel.map->values = to_vector(rho.flatten(0, 1).nanmean({0}));
      panel.map->label = "correlation";
      for (const double value : panel.map->values) {
        if (std::isfinite(value)) limit = std::max(limit, std::abs(value));
      }
      panel.y.label = "lag, tokens";
      const std::vector<double> shifts = to_vector(shift), lags = to_vector(lag);
      for (size_t i = 0; i < shifts.size(); ++i)
        panel.x.ticks.emplace_back(static_cast<double>(i), fmt::format("{:+.0f}", shifts[i]));
      for (size_t i = 0; i < lags.size(); ++i)
        panel.y.ticks.emplace_back(static_cast<double>(i), fmt::format("{:.0f}", lags[i]));
      const double predicted = attribute_of(result, at, "predicted"),
                   marching = 100 * read_axes(result, at + "/marching", 2).mean().item<double>();
      panel.title = fmt::format("{}: {}", short_label(scheme), axis);
      panel.x.label =
          fmt::format("shift, {} ({} a token predicted; {:.0f} % of heads march)", axis,
                      std::isfinite(predicted) ? fmt::format("{:.3g}", predicted) : "none", marching);
      figure.panels.push_back(std::move(panel));
    }
  }
  for (Panel& panel : figure.panels) panel.map->limit = limit > 0 ? limit : 1.0;
  figure.columns = 2;
  figure.title = "Is the pattern of one token found again some tokens later, shifted?";
  figure.note = joined_notes({sources_of(result, "/attention"), "mean over layers and heads"});
  figure.panel_height_cm = 5.0;
  return figure;
}

}  // namespace ropescope
