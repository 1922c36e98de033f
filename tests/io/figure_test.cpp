#include "ropescope/io/figure.h"

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include <gtest/gtest.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/io/figure_script.h"
#include "ropescope/io/gnuplot.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using testing::TemporaryFolder;

Figure simple_figure() {
  Panel curves;
  curves.title = "curves";
  curves.x.label = "distance (tokens)";
  curves.x.log = true;
  curves.y.label = "logit";
  curves.zero_line = true;
  curves.series.push_back({"first", {1, 10, 100}, {3, -1, 2}, {2, -2, 1}, {4, 0, 3}, "", false, false});
  curves.series.push_back({"second", {1, 10, 100}, {1, NAN, 0}, {}, {}, "#123456", true, false});
  Panel map;
  map.title = "map";
  map.x.label = "column";
  map.y.label = "row";
  map.map = HeatMap{2, 3, {-1, 0, 1, 2, NAN, 4}, "value", true, std::nullopt};
  Figure figure;
  figure.title = "two panels";
  figure.panels = {curves, map};
  figure.columns = 2;
  return figure;
}

TEST(Figure, IsDrawnInEveryFormat) {
  const TemporaryFolder folder;
  draw_figure(simple_figure(), folder.path("f.png"), false);
  draw_figure(simple_figure(), folder.path("f.svg"), false);
  draw_figure(simple_figure(), folder.path("f.pdf"), false);
  const std::string png = read_file(folder.path("f.png"));
  EXPECT_EQ(png.substr(0, 8), "\x89PNG\r\n\x1a\n");
  const auto width = static_cast<unsigned char>(png[18]) * 256 + static_cast<unsigned char>(png[19]);
  EXPECT_NEAR(width, 17.0 / 2.54 * 240, 1);  // a page's text width at 240 dots an inch
  const std::string svg = read_file(folder.path("f.svg"));
  for (const char* text :
       {"two panels", "curves", "distance (tokens)", "logit", "first", "second", "value", "row"}) {
    EXPECT_NE(svg.find(text), std::string::npos) << text;
  }
  EXPECT_EQ(read_file(folder.path("f.pdf")).substr(0, 5), "%PDF-");
  EXPECT_THROW(draw_figure(simple_figure(), folder.path("f.png"), false), UsageError);
  draw_figure(simple_figure(), folder.path("f.png"), true);
}

TEST(Figure, OtherExtensionsAreUsageErrors) {
  EXPECT_THROW(check_figure_path("figure.gif", true), UsageError);
  EXPECT_THROW(check_figure_path("figure", true), UsageError);
  check_figure_path("a.b/figure.pdf", false);
}

// gnuplot runs `...` and system() of double-quoted text; labels may come from files.
TEST(Figure, TextIsNeverRun) {
  const TemporaryFolder folder;
  const std::string proof = folder.path("proof");
  for (const std::string& attack :
       {"`touch " + proof + "`", "'; system('touch " + proof + "') #", "\nsystem('touch " + proof + "')\n",
        "\"; system(\"touch " + proof + "\") #", std::string("@x {/Bold a} \\ %s $1"),
        std::string("EOD\n")}) {
    Figure figure = simple_figure();
    figure.title = figure.panels[0].title = figure.panels[0].x.label = figure.panels[0].series[0].label =
        attack;
    figure.panels[1].map->label = attack;
    figure.panels[1].x.ticks = {{0.0, attack}};
    draw_figure(figure, folder.path("attack.png"), true);
    EXPECT_FALSE(std::filesystem::exists(proof)) << attack;
  }
  EXPECT_EQ(gnuplot_quoted("it's\n"), "'it’s '");
}

TEST(Figure, WithoutGnuplotTheErrorSaysHowToInstallIt) {
  const TemporaryFolder folder;
  const std::string path = std::getenv("PATH");
  setenv("PATH", folder.path("nothing").c_str(), 1);
  try {
    draw_figure(simple_figure(), folder.path("f.png"), false);
    ADD_FAILURE() << "drawn without gnuplot";
  } catch (const EnvironmentError& error) {
    EXPECT_NE(std::string(error.what()).find("apt-get install gnuplot-nox"), std::string::npos);
  }
  setenv("PATH", path.c_str(), 1);
  EXPECT_FALSE(std::filesystem::exists(folder.path("f.png")));
}

TEST(Figure, AFailingGnuplotIsAnEnvironmentErrorWithItsWords) {
  const TemporaryFolder folder;
  try {
    run_gnuplot("set terminal no_such_terminal\n", folder.path("x.png"));
    ADD_FAILURE() << "no error";
  } catch (const EnvironmentError& error) {
    EXPECT_NE(std::string(error.what()).find("unknown or ambiguous terminal"), std::string::npos)
        << error.what();
  }
}

TEST(Figure, NothingFiniteIsAnInputErrorAndMisfitsAreOurs) {
  Figure figure = simple_figure();
  figure.panels[0].series = {{"", {1, 2}, {NAN, INFINITY}, {}, {}, "", false, false}};
  EXPECT_THROW(figure_script(figure, ".png"), InputError);
  figure = simple_figure();
  figure.panels[1].map->values.assign(6, NAN);
  EXPECT_THROW(figure_script(figure, ".png"), InputError);
  figure = simple_figure();
  figure.panels[1].map->values.pop_back();
  EXPECT_THROW(figure_script(figure, ".png"), InternalError);
  figure = simple_figure();
  figure.panels[0].series[0].y.pop_back();
  EXPECT_THROW(figure_script(figure, ".png"), InternalError);
}

TEST(Figure, LongCurvesKeepTheirExtremesAndStaySmall) {
  Figure figure = simple_figure();
  Series series;
  for (int i = 1; i <= 300'000; ++i) {
    series.x.push_back(i);
    series.y.push_back(i == 222'222 ? 7.25 : std::sin(i));
  }
  figure.panels.resize(1);
  figure.panels[0].series = {series};
  const std::string script = figure_script(figure, ".svg");
  EXPECT_LT(script.size(), 200'000u);
  EXPECT_NE(script.find("222222 7.25"), std::string::npos);
}

Panel raster_panel(int64_t rows, int64_t columns) {
  Panel panel;
  panel.title = "raster";
  panel.raster = Raster{};
  panel.raster->rows = rows;
  panel.raster->columns = columns;
  for (int64_t i = 0; i < rows * columns; ++i) panel.raster->values.push_back(static_cast<double>(i));
  panel.raster->label = "id";
  return panel;
}

TEST(FigureRaster, CellsAreSquareAndTheFirstRowIsOnTop) {
  const TemporaryFolder folder;
  Figure figure;
  figure.title = "rasters beside curves";
  figure.panels = {raster_panel(4, 6), raster_panel(8, 3), simple_figure().panels[0]};
  figure.panels[0].raster->values[7] = NAN;
  figure.panels[0].raster->marks = {{5, 0}};
  figure.panels[1].raster->colour_bar = false;
  figure.columns = 3;
  figure.panel_height_cm = 5;
  draw_figure(figure, folder.path("f.png"), false);
  draw_figure(figure, folder.path("f.svg"), false);
  const std::string svg = read_file(folder.path("f.svg"));
  for (const char* text : {"raster", "id", "distance (tokens)"}) {
    EXPECT_NE(svg.find(text), std::string::npos) << text;
  }

  const std::string script = figure_script(figure, ".png");
  EXPECT_NE(script.find("yrange [3.5:-0.5]"), std::string::npos);
  EXPECT_NE(script.find("circle at first 5,0"), std::string::npos);
  const auto margin = [&](const char* name, double page_cm) {
    const std::string key = std::string("set ") + name + "margin at screen ";
    return std::stod(script.substr(script.find(key) + key.size())) * page_cm;
  };
  const double height_cm = 5 + 0.75 + 0.25 + 0.42;  // panels, title, a line of legend
  const double width = margin("r", 17) - margin("l", 17);
  const double height = margin("t", height_cm) - margin("b", height_cm);
  EXPECT_NEAR(width / 6, height / 4, 1e-3);

  figure.panels[0].raster->values.assign(24, NAN);
  EXPECT_THROW(figure_script(figure, ".png"), InputError);
  figure.panels[0].raster->values.pop_back();
  EXPECT_THROW(figure_script(figure, ".png"), InternalError);
}

TEST(FigureRaster, ThoseThatShareABarAreOfOneSizeAndEvenlySpaced) {
  Figure figure;
  figure.panels = {raster_panel(4, 4), raster_panel(4, 4), raster_panel(4, 4)};
  figure.panels[0].raster->colour_bar = figure.panels[1].raster->colour_bar = false;
  figure.columns = 3;
  figure.panel_height_cm = 5;
  const std::string script = figure_script(figure, ".png");
  const auto margins = [&](const char* name) {
    const std::string key = std::string("set ") + name + "margin at screen ";
    std::vector<double> found;
    for (size_t at = script.find(key); at != std::string::npos; at = script.find(key, at + 1)) {
      found.push_back(17 * std::stod(script.substr(at + key.size())));
    }
    return found;
  };
  const std::vector<double> left = margins("l"), right = margins("r");
  ASSERT_EQ(left.size(), 3u);
  EXPECT_NEAR(right[0] - left[0], right[2] - left[2], 1e-4);
  EXPECT_NEAR(left[1] - left[0], left[2] - left[1], 1e-4);
  EXPECT_GT(right[0] - left[0], 4);  // the bar's room is taken once, not from every panel
}

TEST(FigureLabels, TicksAndNumbers) {
  EXPECT_EQ(number_label(1e4), "10⁴");
  EXPECT_EQ(number_label(1e12), "10¹²");
  EXPECT_EQ(number_label(5e5), "5×10⁵");
  EXPECT_EQ(number_label(3162277.66), "3.16×10⁶");
  EXPECT_EQ(number_label(99999.99), "10⁵");
  EXPECT_EQ(number_label(100), "100");
  EXPECT_EQ(number_label(0), "0");
  EXPECT_EQ(number_label(-0.5), "-0.5");
  const auto ticks = log_ticks(1, 1000);
  EXPECT_EQ(ticks.size(), 28u);  // 3 decades of 9, and the last end
  EXPECT_EQ(ticks.front().second, "1");
  EXPECT_EQ(ticks[1].second, "");
  EXPECT_EQ(ticks.back(), (std::pair<double, std::string>(1000, "1000")));
}

TEST(FigureColours, AreDistinct) {
  for (const size_t count : {1u, 7u, 12u}) {
    std::set<std::string> colours;
    for (size_t i = 0; i < count; ++i) colours.insert(curve_colour(i, count));
    EXPECT_EQ(colours.size(), count);
  }
  EXPECT_EQ(ordered_colour(0), "#440154");
  EXPECT_EQ(ordered_colour(1), "#fde725");
}

}  // namespace
}  // namespace ropescope
