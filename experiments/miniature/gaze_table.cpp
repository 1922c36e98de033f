#include "gaze_table.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "ropescope/core/errors.h"
#include "ropescope/io/figure.h"

namespace ropescope::miniature {

namespace {

constexpr const char* kGazeGrids[] = {"seen", "unseen"};

const std::vector<double>& share_of(const Gaze& gaze, size_t which) {
  const std::vector<double>* all[] = {&gaze.thumbnail, &gaze.own, &gaze.misplaced_own, &gaze.misplaced_ids};
  return *all[which];
}

/// Of the one seed of a row; null without a gaze.
const Json* result_of(const Row& row, const Run& run, const std::vector<Run>& runs,
                      const std::vector<Json>& results) {
  for (size_t i = 0; i < runs.size(); ++i) {
    const Run& other = runs[i];
    if (other.seed == run.seed && other.scheme == row.scheme && other.map == row.map &&
        other.compress == row.compress && other.theta == row.theta && other.scaling == row.scaling &&
        other.correspondence == row.correspondence && other.planned == row.steps) {
      return results[i].contains("gaze") ? &results[i]["gaze"] : nullptr;
    }
  }
  return nullptr;
}

/// For a panel: "mirror" of "id-align (mirror)", "resize=bilinear" of "id-align:resize=bilinear", other names whole.
std::string short_name(const std::string& name) {
  const std::string scheme = "id-align";
  if (name.rfind(scheme + " (", 0) == 0)
    return name.substr(scheme.size() + 2, name.size() - scheme.size() - 3);
  if (name.rfind(scheme + ":", 0) == 0) return name.substr(scheme.size() + 1);
  return name;
}

}  // namespace

std::vector<GazeRow> gaze_rows(const std::vector<Row>& rows, const std::vector<Run>& runs,
                               const std::vector<Json>& results) {
  std::vector<GazeRow> list;
  for (const Row& row : rows) {
    GazeRow gazing;
    gazing.name = row.scheme + detail_of(row);
    gazing.theta = row.theta;
    gazing.scaling = row.scaling;
    for (const Run& run : row.runs) {
      const Json* gaze = result_of(row, run, runs, results);
      if (gaze == nullptr) break;
      const std::string what = fmt::format("{}, seed {}", gazing.name, run.seed);
      gazing.seeds.push_back(run.seed);
      gazing.gazes.push_back(
          {gaze_from(gaze->value("seen", Json()), what), gaze_from(gaze->value("unseen", Json()), what)});
      const std::array<Gaze, 2>& own = gazing.gazes.back();
      for (const Gaze& one : own) {
        if (one.own.size() != gazing.gazes.front()[0].own.size()) {
          throw InputError("{}: gaze: expected {} layers, as another seed has, found {}", what,
                           gazing.gazes.front()[0].own.size(), one.own.size());
        }
      }
    }
    if (gazing.gazes.empty() || gazing.gazes.size() != row.runs.size()) continue;
    for (size_t grids = 0; grids < 2; ++grids) {
      for (size_t layer = 0; layer < gazing.gazes.front()[grids].own.size(); ++layer) {
        std::vector<MeanInterval> shares;
        for (size_t which = 0; which < kGazeShares; ++which) {
          std::vector<double> values;
          for (const auto& both : gazing.gazes) values.push_back(share_of(both[grids], which)[layer]);
          shares.push_back(mean_interval(values));
        }
        gazing.intervals[grids].push_back(std::move(shares));
      }
    }
    list.push_back(std::move(gazing));
  }
  return list;
}

std::string gaze_table(const std::vector<GazeRow>& rows) {
  std::string text =
      "Attention of high-resolution tokens, unseen grids, mean over heads; misplaced: tokens that have another cell's ids.\n\n"
      "| scheme | θ | layer | on the thumbnail | on their own cell | misplaced: on their own cell | on the cell of their "
      "ids | seeds |\n|---|---|---|---|---|---|---|---|\n";
  for (const GazeRow& row : rows) {
    for (size_t layer = 0; layer < row.intervals[1].size(); ++layer) {
      text += fmt::format("| {} | {}{} | {} ", row.name, number_label(row.theta),
                          row.scaling.empty() ? "" : " " + row.scaling, layer);
      for (const MeanInterval& share : row.intervals[1][layer])
        text += fmt::format("| {} ", share_text(share));
      text += fmt::format("| {} |\n", row.seeds.size());
    }
  }
  return text;
}

std::string gaze_csv(const std::vector<GazeRow>& rows) {
  std::string text = "scheme,theta,scaling,grids,layer,seed,tokens,misplaced";
  for (const char* name : kGazeNames) text += fmt::format(",{}", name);
  text += "\n";
  for (const GazeRow& row : rows) {
    for (size_t grids = 0; grids < 2; ++grids) {
      for (size_t layer = 0; layer < row.intervals[grids].size(); ++layer) {
        for (size_t seed = 0; seed < row.seeds.size(); ++seed) {
          const Gaze& gaze = row.gazes[seed][grids];
          text += fmt::format("\"{}\",{:g},{},{},{},{},{},{}", row.name, row.theta, row.scaling,
                              kGazeGrids[grids], layer, row.seeds[seed], gaze.tokens, gaze.misplaced);
          for (size_t which = 0; which < kGazeShares; ++which)
            text += fmt::format(",{:.6f}", share_of(gaze, which)[layer]);
          text += "\n";
        }
      }
    }
  }
  return text;
}

void draw_gaze(const std::filesystem::path& file, const std::vector<GazeRow>& rows, double theta) {
  Figure figure;
  figure.columns = 4;
  figure.panel_height_cm = 3.6;
  double highest = 0;
  const auto at_theta = [theta](const GazeRow& row) { return row.theta == theta && row.scaling.empty(); };
  const auto row_of = [](const Gaze& gaze, const std::vector<double>& matrix, int64_t cell) {
    const auto begin = matrix.begin() + cell * gaze.cells;
    return std::vector<double>(begin, begin + gaze.cells);
  };
  for (const GazeRow& row : rows) {
    if (!at_theta(row)) continue;
    const Gaze& gaze = row.gazes.front()[1];
    const auto side = static_cast<int64_t>(std::lround(std::sqrt(gaze.cells)));
    const int64_t cell = side + 1;  // second row, second column: no edge, and no symmetry's fixed point
    Panel panel;
    panel.title = short_name(row.name);
    Raster raster;
    raster.rows = raster.columns = side;
    raster.values = row_of(gaze, gaze.map, cell);
    for (double& share : raster.values) share *= 100;
    highest = std::max(highest, *std::max_element(raster.values.begin(), raster.values.end()));
    const auto edge = 1.0 / static_cast<double>(side);
    const auto column = static_cast<double>(cell % side), line = static_cast<double>(cell / side);
    raster.boxes.push_back({column * edge, line * edge, (column + 1) * edge, (line + 1) * edge});
    const std::vector<double> placed = row_of(gaze, gaze.placed, cell);
    const auto most = std::max_element(placed.begin(), placed.end());
    if (*most > 0.5) {
      const int64_t ids = most - placed.begin();
      raster.marks.emplace_back(static_cast<double>(ids % side), static_cast<double>(ids / side));
    }
    panel.raster = std::move(raster);
    figure.panels.push_back(std::move(panel));
  }
  if (figure.panels.empty()) return;
  for (Panel& panel : figure.panels) {
    panel.raster->low = 0;
    panel.raster->high = highest;
    panel.raster->colour_bar = &panel == &figure.panels.back();
  }
  figure.note = "attention in %; box: the cell that the tokens show; ring: the cell whose ids most of them have";
  draw_figure(figure, file, /*force=*/true);
}

}  // namespace ropescope::miniature
