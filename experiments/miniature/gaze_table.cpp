#include "gaze_table.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "ropescope/analysis/statistics.h"
#include "ropescope/core/errors.h"
#include "ropescope/io/figure.h"

namespace ropescope::miniature {

namespace {

constexpr size_t kUnseen = 1;  // of kGrids

struct Share {
  const char* name;
  std::vector<double> Gaze::*of;  // [layers]
};
constexpr Share kShares[] = {{"thumbnail", &Gaze::thumbnail},
                             {"own", &Gaze::own},
                             {"misplaced_own", &Gaze::misplaced_own},
                             {"misplaced_ids", &Gaze::misplaced_ids}};

bool has_looked(const Row& row) {
  return std::all_of(row.runs.begin(), row.runs.end(), [](const Run& run) { return run.gaze.has_value(); });
}

/// That all runs have.
size_t layers_of(const Row& row) {
  const size_t layers = row.runs.front().gaze->front().own.size();
  for (const Run& run : row.runs) {
    for (const Gaze& gaze : *run.gaze) {
      if (gaze.own.size() != layers) {
        throw InputError("{}{}, seed {}: gaze: expected {} layers, as another seed has, found {}", row.scheme,
                         detail_of(row), run.seed, layers, gaze.own.size());
      }
    }
  }
  return layers;
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

bool has_gaze(const std::vector<Row>& rows) { return std::any_of(rows.begin(), rows.end(), has_looked); }

std::vector<MeanInterval> gaze_shares(const Row& row, size_t grids, size_t layer) {
  std::vector<MeanInterval> shares;
  for (const Share& share : kShares) {
    std::vector<double> values;
    for (const Run& run : row.runs) values.push_back(((*run.gaze)[grids].*share.of)[layer]);
    shares.push_back(mean_interval(values));
  }
  return shares;
}

std::string gaze_table(const std::vector<Row>& rows) {
  std::string text =
      "Attention of high-resolution tokens, unseen grids, mean over heads; misplaced: tokens that have another cell's ids.\n\n"
      "| scheme | θ | targets | layer | on the thumbnail | on their own cell | misplaced: on their own cell | on the cell of "
      "their ids | seeds |\n|---|---|---|---|---|---|---|---|---|\n";
  for (const Row& row : rows) {
    if (!has_looked(row)) continue;
    for (size_t layer = 0; layer < layers_of(row); ++layer) {
      text += fmt::format("| {}{} | {} | {} | {} ", row.scheme, detail_of(row), theta_text(row),
                          targets_text(row), layer);
      for (const MeanInterval& share : gaze_shares(row, kUnseen, layer)) {
        text += fmt::format("| {} ", share_text(share));
      }
      text += fmt::format("| {} |\n", row.runs.size());
    }
  }
  return text;
}

std::string gaze_csv(const std::vector<Row>& rows) {
  std::string text = "scheme,map,theta,scaling,correspondence_weight,grids,layer,seed,tokens,misplaced";
  for (const Share& share : kShares) text += fmt::format(",{}", share.name);
  text += "\n";
  for (const Row& row : rows) {
    if (!has_looked(row)) continue;
    for (size_t grids = 0; grids < kGrids.size(); ++grids) {
      for (size_t layer = 0; layer < layers_of(row); ++layer) {
        for (const Run& run : row.runs) {
          const Gaze& gaze = (*run.gaze)[grids];
          text += fmt::format("\"{}\",\"{}\",{:g},{},{:g},{},{},{},{},{}", row.scheme, row.map, row.theta,
                              row.scaling, row.correspondence, kGrids[grids], layer, run.seed, gaze.tokens,
                              gaze.misplaced);
          for (const Share& share : kShares) text += fmt::format(",{:.6f}", (gaze.*share.of)[layer]);
          text += "\n";
        }
      }
    }
  }
  return text;
}

void draw_gaze(const std::filesystem::path& file, const std::vector<Row>& rows, double theta) {
  Figure figure;
  figure.columns = 4;
  figure.panel_height_cm = 3.6;
  double highest = 0;
  const auto fits = [&](const Row& row) {
    return has_looked(row) && row.theta == theta && row.scaling.empty() &&
           row.correspondence == rows.front().correspondence;
  };
  const auto row_of = [](const Gaze& gaze, const std::vector<double>& matrix, int64_t cell) {
    const auto begin = matrix.begin() + cell * gaze.cells;
    return std::vector<double>(begin, begin + gaze.cells);
  };
  for (const Row& row : rows) {
    if (!fits(row)) continue;
    const Gaze& gaze = (*row.runs.front().gaze)[kUnseen];
    const auto side = static_cast<int64_t>(std::lround(std::sqrt(gaze.cells)));
    const int64_t cell = side + 1;  // second row, second column: no edge, and no symmetry's fixed point
    Panel panel;
    panel.title = short_name(row.scheme + detail_of(row));
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
  figure.note =
      "attention in %; box: the cell that the tokens show; ring: the cell whose ids most of them have";
  draw_figure(figure, file, /*force=*/true);
}

}  // namespace ropescope::miniature
