#include "ropescope/analysis/figures.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include <gtest/gtest.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>

#include "ropescope/analysis/figure_data.h"
#include "ropescope/analysis/figures_decay.h"
#include "ropescope/analysis/figures_positions.h"
#include "ropescope/analysis/simulation.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/io/figure_script.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using testing::TemporaryFolder;

/// Curves that fall and turn negative, in the shapes that the commands write.
void write_everything(const std::string& path) {
  constexpr int64_t kThetas = 3, kLayers = 4, kHeads = 3, kDistances = 200;
  const at::Tensor distance = at::arange(kDistances, at::kLong);
  const at::Tensor curve = distance.to(at::kDouble).mul(0.02).cos();
  const at::Tensor by_head = at::randn({kThetas, kLayers, kHeads, 1}, at::kDouble).add(2).mul(curve);
  const at::Tensor mean = by_head.mean(at::IntArrayRef{1, 2});
  ResultWriter writer(path, {}, true);
  writer.write("/decay/distance", distance);
  writer.write("/decay/theta", at::tensor({1e4, 1e5, 5e6}, at::kDouble));
  writer.write("/decay/mean", mean);
  writer.write("/decay/ci95_low", mean.sub(0.1));
  writer.write("/decay/ci95_high", mean.add(0.1));
  writer.write("/decay/by_layer", by_head.mean({2}));
  writer.write("/decay/by_head", by_head.to(at::kFloat));
  writer.write("/decay/abel_bound", mean.abs().add(10));
  writer.write("/decay/band_contribution", at::randn({kThetas, 8, kDistances}, at::kDouble));
  writer.write("/decay/kinds/name", std::vector<std::string>{"sliding", "full", "no rotation"});
  const at::Tensor kinds = by_head.select(2, 0).narrow(1, 0, 3);
  writer.write("/decay/kinds/mean", kinds);
  writer.write("/decay/kinds/ci95_low", kinds.sub(0.1));
  writer.write("/decay/kinds/ci95_high", kinds.add(0.1));
  writer.write("/decay/kinds/window", at::tensor({64, 0, 0}, at::kLong));
  writer.write("/decay/kinds/chunk", at::tensor({0, 0, 32}, at::kLong));
  writer.attribute("/decay", "sign", int64_t{1});
  writer.write("/positions/coordinates", at::arange(14, at::kDouble).unsqueeze(0));
  writer.write("/positions/segments", std::vector<std::string>{"text:3", "image:2x5", "text:1"});
  writer.write("/profile/distance", distance);
  writer.write("/profile/mean", by_head[0]);
  writer.write("/moments/mean_q", at::randn({kLayers, kHeads, 8}));
  writer.write("/moments/mean_k", at::randn({kLayers, kHeads, 8}));
  SimulationOptions options;
  options.mean = {0, 1};
  options.theta = {1e4, 1e7};
  options.trials = 20;
  options.max_distance = 100;
  write_simulation(writer, "/simulation", simulate(options));
  writer.commit();
}

TEST(Figures, EveryKindIsDrawnWithItsLabels) {
  const TemporaryFolder folder;
  const std::string path = folder.path("r.h5");
  write_everything(path);
  const ResultReader reader(path);
  for (const FigureKind& kind : figure_kinds()) {
    SCOPED_TRACE(kind.name);
    if (!kind.applies(reader)) continue;  // drawn in its command's tests
    const std::string figure = folder.path(kind.name + ".svg");
    EXPECT_EQ(plot_result(path, kind.name, figure, false), kind.name);
    const std::string svg = read_file(figure);
    if (kind.name == "positions") {
      EXPECT_NE(svg.find("image 2×5"), std::string::npos);
      continue;
    }
    const bool distances = kind.name != "moments";
    EXPECT_EQ(svg.find("distance m (tokens)") != std::string::npos, distances);
    const bool thetas = kind.name.rfind("profile", 0) != 0 && kind.name != "moments" && kind.name != "theta";
    EXPECT_EQ(svg.find("θ = 10⁴") != std::string::npos, thetas);
    const bool sign = svg.find("paper’s sign") != std::string::npos;
    const bool of_decay = thetas && kind.name != "simulation";
    EXPECT_EQ(sign, of_decay || kind.name == "theta");
    EXPECT_EQ(svg.find("window of sliding: 64 tokens") != std::string::npos, kind.name == "by-kind");
  }
  EXPECT_EQ(plot_result(path, "", folder.path("default.png"), false), "decay");
}

TEST(Figures, SelectionNarrowsThem) {
  const TemporaryFolder folder;
  const std::string path = folder.path("r.h5");
  write_everything(path);
  FigureSelection selection;
  selection.theta = {5e6};
  selection.layers = {2};
  selection.max_distance = 50;
  plot_result(path, "by-head", folder.path("one.svg"), false, selection);
  const std::string svg = read_file(folder.path("one.svg"));
  EXPECT_NE(svg.find("layer 2"), std::string::npos);
  EXPECT_EQ(svg.find("θ = 10⁴"), std::string::npos);
  selection.layers = {4};
  EXPECT_THROW(plot_result(path, "by-head", folder.path("two.svg"), false, selection), UsageError);
  selection.theta = {123};
  EXPECT_THROW(plot_result(path, "decay", folder.path("two.svg"), false, selection), UsageError);
}

TEST(Figures, TheySayWhatTheyAreMadeOfAndWhatTheyLeaveOut) {
  const TemporaryFolder folder;
  const std::string path = folder.path("r.h5");
  {
    constexpr int64_t kThetas = 7, kLayers = 5, kDistances = 50;
    const at::Tensor curve = at::arange(kDistances, at::kDouble).mul(0.02).cos();
    at::Tensor by_layer = at::full({kThetas, kLayers, kDistances}, NAN, at::kDouble);
    for (const int64_t layer : {1, 2}) by_layer.select(1, layer).copy_(curve);
    ResultWriter writer(path, {}, true);
    writer.write("/decay/distance", at::arange(kDistances, at::kLong));
    writer.write("/decay/theta", at::tensor({1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6}, at::kDouble));
    writer.write("/decay/mean", by_layer.nanmean({1}));
    writer.write("/decay/by_layer", by_layer);
    writer.attribute("/decay", "sources", std::string("tiny.gguf, words.txt"));
    writer.commit();
  }
  const auto drawn = [&](const std::string& kind) {
    plot_result(path, kind, folder.path(kind + ".svg"), true);
    return read_file(folder.path(kind + ".svg"));
  };
  const std::string layers = drawn("by-layer");
  EXPECT_NE(layers.find("tiny.gguf, words.txt; 4 of 7 θ drawn (--theta chooses)"), std::string::npos);
  const std::string curves = drawn("decay");
  EXPECT_NE(curves.find("tiny.gguf, words.txt"), std::string::npos);
  EXPECT_EQ(curves.find("of 7"), std::string::npos);
  EXPECT_NE(curves.find("θ = 5×10⁵"), std::string::npos);
  // Layers that were not sampled are no grey rows.
  const Figure figure = decay_by_layer(ResultReader(path), {});
  EXPECT_EQ(figure.panels[0].map->rows, 2);
  EXPECT_EQ(figure.panels[0].y.ticks[0].second, "1");
}

TEST(Figures, AColourBarThatEndsBeforeTheLargestValueNamesIt) {
  Panel panel;
  panel.map = HeatMap{};
  panel.map->rows = 1;
  panel.map->columns = 200;
  panel.map->values.assign(200, 1.0);
  panel.map->values[7] = 42.5;
  panel.map->label = "logit";
  const std::string cut = figure_script({"", "", {panel}}, ".svg");
  EXPECT_NE(cut.find("logit (largest: 42.5)"), std::string::npos);
  panel.map->values[7] = 1.0;
  EXPECT_EQ(figure_script({"", "", {panel}}, ".svg").find("largest"), std::string::npos);
}

TEST(Figures, MistakesAreExplained) {
  const TemporaryFolder folder;
  ResultWriter writer(folder.path("r.h5"), {}, false);
  writer.write("/profile/distance", at::arange(5));
  writer.write("/profile/mean", at::randn({2, 2, 6}));
  writer.commit();
  const auto message = [&](const std::string& kind, const char* figure) -> std::string {
    try {
      plot_result(folder.path("r.h5"), kind, folder.path(figure), false);
    } catch (const Error& error) {
      return std::to_string(error.exit_code()) + " " + error.what();
    }
    return "";
  };
  EXPECT_NE(message("profil", "f.png").find("did you mean \"profile\""), std::string::npos);
  EXPECT_NE(message("decay", "f.png").find("it holds profile, profile-by-layer"), std::string::npos);
  EXPECT_EQ(message("", "f.jpeg").front(), '2');
  EXPECT_EQ(message("profile", "f.png").front(), '3');  // 6 values for 5 distances
  ResultWriter four(folder.path("four.h5"), {}, false);
  four.write("/positions/coordinates", at::randn({4, 3}));  // of three tokens
  four.write("/positions/segments", std::vector<std::string>{"text:2"});
  four.commit();
  EXPECT_THROW(plot_result(folder.path("four.h5"), "", folder.path("f.png"), false), InputError);
  ResultWriter(folder.path("empty.h5"), {}, false).commit();
  EXPECT_THROW(plot_result(folder.path("empty.h5"), "", folder.path("f.png"), false), InputError);
  EXPECT_FALSE(std::filesystem::exists(folder.path("f.png")));
}

TEST(PositionFigure, TilesHoldTheIdsOfTheirTokens) {
  const Layout layout = parse_layout("text:2,anyres:2x2+4x4,video:9x1x2,text:1");
  const int64_t tokens = layout.tokens();
  const at::Tensor ids = at::arange(2 * tokens, at::kDouble).view({2, tokens});
  const Figure figure = position_figure({{"x", layout, ids}});
  std::vector<std::string> titles;
  std::vector<double> seen;
  for (const Panel& panel : figure.panels) {
    EXPECT_EQ(panel.mosaic->low, 0);
    EXPECT_EQ(panel.mosaic->high, 2 * tokens - 1);
    for (const Mosaic::Tile& tile : panel.mosaic->tiles) {
      titles.push_back(tile.title);
      if (tile.title == "high-res 4×4") seen.push_back(tile.values[5]);
      if (tile.title == "⏎") seen.push_back(tile.values[1]);
    }
  }
  EXPECT_EQ(std::count(titles.begin(), titles.end(), "frame 8"), 2);
  EXPECT_EQ(std::count(titles.begin(), titles.end(), "text"), 4);
  // Row 1, column 1 of the high-resolution grid and the newline of row 1, on both axes.
  const auto at = [&](int64_t token) { return static_cast<double>(token); };
  EXPECT_EQ(seen, (std::vector<double>{at(12), at(15), at(tokens + 12), at(tokens + 15)}));
}

TEST(FigureData, MapColumnsAverageDistancesOnALogarithm) {
  // Values equal to the distance: a column must hold about its own distance, zero its own value.
  const at::Tensor distance = at::arange(4097, at::kLong);
  const DistanceMap map = distance_map(distance.to(at::kDouble).unsqueeze(0), distance, std::nullopt);
  ASSERT_EQ(map.map.rows, 1);
  const auto& values = map.map.values;
  EXPECT_EQ(values.front(), 0.0);
  EXPECT_GT(values.back(), 3900.0);
  EXPECT_TRUE(std::is_sorted(values.begin(), values.end()));
  for (const auto& [cell, label] : map.x.ticks) {
    if (label.empty()) continue;
    const double value = values[static_cast<size_t>(std::lround(cell))];
    const double named = std::stod(label);
    EXPECT_NEAR(value, named, 0.03 * named + 1e-12) << label;
  }
}

TEST(FigureData, RowsToUnitPeakKeepSignsAndGaps) {
  const at::Tensor rows = at::tensor({1.0, -4.0, NAN, 0.0, 0.0, 0.0}, at::kDouble).view({2, 3});
  const at::Tensor scaled = rows_to_unit_peak(rows);
  EXPECT_EQ(scaled[0][0].item<double>(), 0.25);
  EXPECT_EQ(scaled[0][1].item<double>(), -1.0);
  EXPECT_TRUE(std::isnan(scaled[0][2].item<double>()));
  EXPECT_EQ(scaled[1][0].item<double>(), 0.0);
}

}  // namespace
}  // namespace ropescope
