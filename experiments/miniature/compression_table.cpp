#include "compression_table.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include <fmt/format.h>

#include "ropescope/io/figure.h"

#include "comparisons.h"

namespace ropescope::miniature {

namespace {

/// Of the last point of every run; rows without compression keep all.
MeanInterval left_of(const Row& row, size_t which) {
  std::vector<double> shares;
  for (const Run& run : row.runs) shares.push_back(run.left.empty() ? 1.0 : run.left[which]);
  return mean_interval(shares);
}

/// "pool-2, mean" is a "pool, mean".
std::string method_of(const std::string& compression) {
  const size_t dash = compression.find('-'), comma = compression.find(',');
  return compression.substr(0, dash) + (comma == std::string::npos ? "" : compression.substr(comma));
}

struct Point {
  double left, mean, low, high;
};

/// Curves of one measure, by scheme and method.
std::map<std::pair<std::string, std::string>, std::vector<Point>> curves_of(const std::vector<Row>& rows,
                                                                            double theta, size_t measure) {
  std::map<std::pair<std::string, std::string>, std::vector<Point>> curves;
  const auto add = [&](const Row& row, const std::string& method) {
    const MeanInterval& share = row.measures[measure];
    if (!std::isfinite(share.mean)) return;  // no token lies in one cell
    const bool banded = std::isfinite(share.ci95_low);
    curves[{row.scheme, method}].push_back({left_of(row, 0).mean, share.mean,
                                            banded ? std::max(share.ci95_low, 0.0) : share.mean,
                                            banded ? std::min(share.ci95_high, 1.0) : share.mean});
  };
  const auto fits = [&](const Row& row) {
    return row.theta == theta && row.scaling.empty() && row.correspondence == rows.front().correspondence &&
           row.steps == rows.front().steps && row.map.empty();
  };
  for (const Row& row : rows) {
    if (fits(row) && !row.compress.empty()) add(row, method_of(row.compress));
  }
  // Each curve of a scheme begins where nothing is compressed.
  for (const Row& row : rows) {
    if (!fits(row) || !row.compress.empty()) continue;
    std::vector<std::string> methods;
    for (const auto& [key, points] : curves) {
      if (key.first == row.scheme) methods.push_back(key.second);
    }
    for (const std::string& method : methods) add(row, method);
  }
  for (auto& [key, points] : curves) {
    std::sort(points.begin(), points.end(), [](const Point& a, const Point& b) { return a.left < b.left; });
  }
  return curves;
}

}  // namespace

bool has_compression(const std::vector<Row>& rows) {
  return std::any_of(rows.begin(), rows.end(), [](const Row& row) { return !row.compress.empty(); });
}

std::string compression_table(const std::vector<Row>& rows) {
  std::string text =
      "| scheme | compression | high-resolution tokens left, seen grids | unseen | cells with a token of their own, seen grids "
      "| unseen |\n|---|---|---|---|---|---|\n";
  for (const Row& row : rows) {
    if (row.compress.empty()) continue;
    text += fmt::format("| {} | {} ", row.scheme, row.compress);
    for (size_t which = 0; which < 4; ++which) text += fmt::format("| {} ", share_text(left_of(row, which)));
    text += "|\n";
  }
  return text;
}

std::string compression_csv(const std::vector<Row>& rows) {
  std::string text =
      "scheme,map,compress,theta,scaling,correspondence_weight,seed,tokens_left_seen,tokens_left_unseen,cells_left_seen,"
      "cells_left_unseen\n";
  for (const Row& row : rows) {
    for (const Run& run : row.runs) {
      if (run.left.empty()) continue;
      text += fmt::format("\"{}\",\"{}\",\"{}\",{:g},{},{:g},{}", row.scheme, row.map, row.compress,
                          row.theta, row.scaling, row.correspondence, run.seed);
      for (const double share : run.left) text += fmt::format(",{:.5f}", share);
      text += "\n";
    }
  }
  return text;
}

void draw_compression(const std::filesystem::path& file, const std::vector<Row>& rows, double theta) {
  Figure figure;
  figure.columns = 2;
  figure.panel_height_cm = 6.5;
  const std::array<const char*, kMeasures> titles = {
      "Cell's colour known to the tokens left, seen grids", "unseen grids",
      "Asked for the glyph of a colour, seen grids", "unseen grids"};
  std::vector<std::string> methods;
  for (const Row& row : rows) {
    const std::string method = method_of(row.compress);
    if (!row.compress.empty() && std::find(methods.begin(), methods.end(), method) == methods.end()) {
      methods.push_back(method);
    }
  }
  for (size_t m = 0; m < kMeasures; ++m) {
    Panel panel;
    panel.title = titles[m];
    panel.x.label = "share of high-resolution tokens left";
    panel.x.log = true;
    panel.x.ticks = {{0.0625, "1/16"}, {0.1, "0.1"}, {0.25, "0.25"}, {0.5, "0.5"}, {1.0, "1"}};
    panel.x.high = 1.0;
    panel.y.label = "share right";
    panel.y.low = 0.0;
    panel.y.high = 1.0;
    for (const auto& [key, points] : curves_of(rows, theta, m)) {
      Series series;
      series.label = fmt::format("{}, {}", key.first, key.second);
      for (const Point& point : points) {
        series.x.push_back(point.left);
        series.y.push_back(point.mean);
        series.low.push_back(point.low);
        series.high.push_back(point.high);
      }
      const auto place =
          static_cast<size_t>(std::find(methods.begin(), methods.end(), key.second) - methods.begin());
      series.colour = curve_colour(place, methods.size());
      series.dashed = without_alignment(key.first).empty();
      panel.series.push_back(std::move(series));
    }
    if (!panel.series.empty())
      figure.panels.push_back(std::move(panel));  // pools of no run may lie in one cell
  }
  if (figure.panels.empty()) return;
  draw_figure(figure, file, /*force=*/true);
}

}  // namespace ropescope::miniature
