#include "ropescope/analysis/figures_prior.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

#include "ropescope/analysis/figure_data.h"
#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

std::string group_of(const std::string& scheme) { return scheme_group("/prior", scheme); }

/// Which token stands where in the first rasters.
struct RasterCells {
  int64_t rows = 0, columns = 0;
  std::vector<int64_t> token;  ///< of each cell; -1 for none
};

struct LayoutCells {
  std::vector<double> raster, row, column, modality;
  int64_t tokens() const { return static_cast<int64_t>(raster.size()); }

  explicit LayoutCells(const ResultReader& result) {
    const at::Tensor of = read_axes(result, "/prior/layout/raster", 1);
    const std::vector<int64_t> shape = {of.size(0)};
    raster = to_vector(of);
    row = to_vector(read_shaped(result, "/prior/layout/row", shape));
    column = to_vector(read_shaped(result, "/prior/layout/column", shape));
    modality = to_vector(read_shaped(result, "/prior/layout/modality", shape));
  }

  RasterCells cells(int64_t which, const std::string& file) const {
    RasterCells cells;
    const auto mine = [&](size_t token) {
      return raster[token] == static_cast<double>(which) && row[token] >= 0 && column[token] >= 0;
    };
    for (size_t token = 0; token < raster.size(); ++token) {
      if (!mine(token)) continue;
      if (row[token] >= kMostCells || column[token] >= kMostCells) {
        throw InputError("{}: /prior/layout/row, column: expected cells of a raster, found {}, {}", file,
                         row[token], column[token]);
      }
      cells.rows = std::max(cells.rows, static_cast<int64_t>(row[token]) + 1);
      cells.columns = std::max(cells.columns, static_cast<int64_t>(column[token]) + 1);
    }
    if (cells.rows > 0 && cells.columns > kMostCells / cells.rows) {
      throw InputError("{}: /prior/layout: expected a raster, found {} x {} cells", file, cells.rows,
                       cells.columns);
    }
    cells.token.assign(static_cast<size_t>(cells.rows * cells.columns), -1);
    for (size_t token = 0; token < raster.size(); ++token) {
      if (!mine(token)) continue;
      const int64_t cell =
          static_cast<int64_t>(row[token]) * cells.columns + static_cast<int64_t>(column[token]);
      cells.token[static_cast<size_t>(cell)] = static_cast<int64_t>(token);
    }
    return cells;
  }
};

int64_t query_of(const ResultReader& result, int64_t tokens) {
  const Attribute value = result.attribute("/prior", "query_index");
  const auto* index = std::get_if<int64_t>(&value);
  if (index == nullptr || *index < 0 || *index >= tokens) {
    throw InputError("{}: attribute query_index: expected a token from 0 to {}", result.path().string(),
                     tokens - 1);
  }
  return *index;
}

Raster raster_of(const RasterCells& cells, const std::vector<double>& logits, int64_t query) {
  Raster raster;
  raster.rows = cells.rows;
  raster.columns = cells.columns;
  for (size_t cell = 0; cell < cells.token.size(); ++cell) {
    const int64_t token = cells.token[cell];
    raster.values.push_back(token < 0 ? NAN : logits[static_cast<size_t>(token)]);
    if (token == query && token >= 0) {
      raster.marks.emplace_back(static_cast<int64_t>(cell) % cells.columns,
                                static_cast<int64_t>(cell) / cells.columns);
    }
  }
  return raster;
}

std::string raster_name(const LayoutCells& layout, const RasterCells& cells) {
  static const std::array<const char*, 5> kNames = {"text", "image", "high resolution", "newline", "frame"};
  for (const int64_t token : cells.token) {
    if (token < 0) continue;
    const double modality = layout.modality[static_cast<size_t>(token)];
    if (modality >= 0 && modality < 5) return kNames[static_cast<size_t>(modality)];
  }
  return "image";
}

/// A vertical line where the layout outgrows the model's trained context.
void mark_context(const ResultReader& result, const DistanceAxis& axis, Panel& panel) {
  if (!result.has_attribute("/prior", "trained_context")) return;
  const Attribute value = result.attribute("/prior", "trained_context");
  const auto* context = std::get_if<int64_t>(&value);
  if (context == nullptr) return;
  const double place = static_cast<double>(*context - read_axes(result, "/prior/layout/raster", 1).size(0));
  if (!(place > 0) || place < *axis.axis.low || place > *axis.axis.high) return;
  double highest = 0;
  for (const Series& series : panel.series) {
    for (const double y : series.y) highest = std::isfinite(y) ? std::max(highest, y) : highest;
  }
  panel.series.push_back(
      {"end of the trained context", {place, place}, {0, highest}, {}, {}, "#000000", true, false});
}

}  // namespace

std::string scheme_group(const std::string& root, const std::string& scheme) {
  std::string name = scheme;
  std::replace(name.begin(), name.end(), '/', '_');
  return root + "/" + name;
}

std::string short_label(const std::string& scheme) {
  constexpr size_t kMost = 24;
  return scheme.size() <= kMost ? scheme : scheme.substr(0, kMost - 1) + "…";
}

Figure prior_maps(const ResultReader& result, const FigureSelection&) {
  const LayoutCells layout(result);
  const int64_t query = query_of(result, layout.tokens());
  std::vector<RasterCells> rasters;
  for (const int64_t which : {0, 1}) {
    RasterCells cells = layout.cells(which, result.path().string());
    if (!cells.token.empty()) rasters.push_back(std::move(cells));
  }
  if (rasters.empty()) {
    throw InputError("{}: /prior/layout: expected visual tokens to draw, found none", result.path().string());
  }
  const std::vector<std::string> schemes = read_schemes(result, "/prior/table/scheme");
  Figure figure;
  for (const std::string& scheme : schemes) {
    const auto logits = to_vector(read_shaped(result, group_of(scheme) + "/logits", {layout.tokens()}));
    std::vector<Raster> panels;
    double low = INFINITY, high = -INFINITY;
    for (const RasterCells& cells : rasters) {
      panels.push_back(raster_of(cells, logits, query));
      for (const double value : panels.back().values) {
        if (!std::isfinite(value)) continue;
        low = std::min(low, value);
        high = std::max(high, value);
      }
    }
    if (!(low <= high)) {
      throw UsageError("--kind prior-maps: the query (token {}) sees no token of the first rasters", query);
    }
    for (size_t i = 0; i < panels.size(); ++i) {
      Panel panel;
      const bool last = i + 1 == panels.size();
      panel.title = i == 0 ? short_label(scheme) : raster_name(layout, rasters[i]);
      panel.raster = std::move(panels[i]);
      panel.raster->low = low;
      panel.raster->high = high;
      panel.raster->colour_bar = last;
      figure.panels.push_back(std::move(panel));
    }
  }
  const bool pairs = rasters.size() == 2;
  const int side_by_side = schemes.size() > 3 ? 2 : 1;
  figure.columns = side_by_side * (pairs ? 2 : 1);
  figure.panel_height_cm = side_by_side == 2 ? 3.6 : 6.5;
  figure.title =
      fmt::format("Expected logit from token {} onto each visual token, mean over heads (q·k)", query);
  return figure;
}

Panel fading_panel(const ResultReader& result, const std::string& root,
                   const std::vector<std::string>& schemes) {
  const at::Tensor lengths = read_axes(result, root + "/text_lengths", 1);
  const DistanceAxis axis(lengths, std::nullopt);
  Panel panel;
  panel.x = axis.axis;
  panel.x.label = "text tokens between image and question";
  if (lengths.size(0) <= 12) {
    panel.x.ticks.clear();
    for (size_t i = 0; i < axis.position.size(); ++i) {
      panel.x.ticks.emplace_back(axis.position[i], fmt::format("{:.0f}", axis.distance[i]));
    }
  }
  panel.y.low = 0.0;
  const std::vector<int64_t> shape = {lengths.size(0)};
  const auto curve = [&](const std::string& scheme, const char* name) {
    return to_vector(read_shaped(result, scheme_group(root, scheme) + "/fading/" + name, shape));
  };
  for (size_t i = 0; i < schemes.size(); ++i) {
    Series series;
    series.label = short_label(schemes[i]);
    series.x = axis.position;
    series.y = curve(schemes[i], "visual_share");
    series.low = curve(schemes[i], "ci95_low");
    series.high = curve(schemes[i], "ci95_high");
    series.colour = curve_colour(i, schemes.size());
    series.dashed = schemes.size() > 7 && i % 2 == 1;  // neighbours on the ordered scale look alike
    panel.series.push_back(std::move(series));
  }
  panel.series.push_back({"uniform attention",
                          axis.position,
                          curve(schemes.front(), "uniform_share"),
                          {},
                          {},
                          "#888888",
                          true,
                          false});
  return panel;
}

Figure prior_fading(const ResultReader& result, const FigureSelection&) {
  Panel panel = fading_panel(result, "/prior", read_schemes(result, "/prior/table/scheme"));
  panel.x.label = "text tokens between image and query";
  panel.y.label = "expected share of attention on visual tokens";
  mark_context(result, DistanceAxis(read_axes(result, "/prior/text_lengths", 1), std::nullopt), panel);
  Figure figure;
  figure.title = "Visual fading: prior attention on the image as text grows (bands: 95% intervals)";
  figure.panels = {panel};
  figure.panel_height_cm = 10.0;
  return figure;
}

}  // namespace ropescope
