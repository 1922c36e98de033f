#include "ropescope/io/figure_script.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "ropescope/core/errors.h"
#include "ropescope/core/numbers.h"
#include "ropescope/io/figure_mosaic.h"
#include "ropescope/io/figure_raster.h"
#include "ropescope/io/gnuplot.h"

namespace ropescope {

namespace {

// Sizes on the printed page.
constexpr double kFontPoints = 8.0;
constexpr double kLineCm = 0.42;  // a line of text with its leading
constexpr double kLeftCm = 1.75, kRightCm = 0.45, kTitleCm = 0.75, kTopCm = 0.25, kBottomCm = 1.2;
constexpr double kColourBarCm = 2.1;  // right of a map: gap, bar, its numbers and label
constexpr double kBarGapCm = 0.2, kBarWidthCm = 0.3;
constexpr double kLegendCharacterCm = 0.155;
constexpr double kPngDotsPerInch = 240;
/// A curve longer than this is drawn as the envelope of its bins, which are finer than a printer's dots.
constexpr size_t kMostPoints = 4000;
constexpr size_t kBins = 1200;

struct Range {
  double low = kInfinity;
  double high = kNegativeInfinity;
  void add(double value, bool positive_only) {
    if (!std::isfinite(value) || (positive_only && value <= 0)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return low > high; }
};

/// Length in characters of UTF-8 text.
size_t characters(const std::string& text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

void check_curves_and_map(const Panel& panel) {
  for (const Series& series : panel.series) {
    const size_t length = series.x.size();
    const bool band = !series.low.empty() || !series.high.empty();
    if (series.y.size() != length ||
        (band && (series.low.size() != length || series.high.size() != length))) {
      throw InternalError("figure: the arrays of curve \"{}\" differ in length", series.label);
    }
  }
  if (panel.map && (panel.map->rows < 1 || panel.map->columns < 1 ||
                    panel.map->values.size() != static_cast<size_t>(panel.map->rows * panel.map->columns))) {
    throw InternalError("figure: the map of panel \"{}\" has the wrong number of values", panel.title);
  }
}

Range padded(Range range, const Axis& axis, double share) {
  if (axis.log) {
    const double pad = std::pow(std::max(range.high / range.low, 1.05), share);
    range.low /= pad;
    range.high *= pad;
  } else {
    const double width = range.high - range.low;
    const double pad = width > 0 ? share * width : std::max(std::abs(range.low) * 0.1, 0.1);
    range.low -= pad;
    range.high += pad;
  }
  range.low = axis.low.value_or(range.low);
  range.high = axis.high.value_or(range.high);
  return range;
}

struct Ranges {
  Range x, y;
};

Ranges data_ranges(const Panel& panel) {
  Ranges ranges;
  for (const Series& series : panel.series) {
    for (size_t i = 0; i < series.x.size(); ++i) {
      const double x = series.x[i];
      if (panel.x.log && x <= 0) continue;
      if ((panel.x.low && x < *panel.x.low) || (panel.x.high && x > *panel.x.high)) continue;
      if (std::isfinite(series.y[i])) ranges.x.add(x, panel.x.log);
      ranges.y.add(series.y[i], panel.y.log);
      if (!series.low.empty()) {
        ranges.y.add(series.low[i], panel.y.log);
        ranges.y.add(series.high[i], panel.y.log);
      }
    }
  }
  if (ranges.x.empty() || ranges.y.empty()) {
    throw InputError("figure: panel \"{}\" has no finite values to draw", panel.title);
  }
  if (panel.zero_line && !panel.y.log) ranges.y.add(0.0, false);
  return {padded(ranges.x, panel.x, 0.0), padded(ranges.y, panel.y, 0.04)};
}

/// Points of a long curve: in each bin the first, lowest, highest and last, and the widest band.
Series thinned(const Series& series, const Panel& panel) {
  if (series.x.size() <= kMostPoints) return series;
  Range range;
  for (const double x : series.x) range.add(x, panel.x.log);
  if (range.empty()) return series;
  const auto bin_of = [&](double x) {
    const double share = panel.x.log ? std::log(x / range.low) / std::log(range.high / range.low)
                                     : (x - range.low) / (range.high - range.low);
    return std::isfinite(share) ? static_cast<int64_t>(share * kBins) : -1;
  };
  Series result = series;
  for (auto* values : {&result.x, &result.y, &result.low, &result.high}) values->clear();
  const bool band = !series.low.empty();
  for (size_t begin = 0; begin < series.x.size();) {
    size_t end = begin + 1, lowest = begin, highest = begin;
    double low = band ? series.low[begin] : 0, high = band ? series.high[begin] : 0;
    for (; end < series.x.size() && bin_of(series.x[end]) == bin_of(series.x[begin]); ++end) {
      if (series.y[end] < series.y[lowest]) lowest = end;
      if (series.y[end] > series.y[highest]) highest = end;
      if (band) {
        low = std::min(low, series.low[end]);
        high = std::max(high, series.high[end]);
      }
    }
    std::array<size_t, 4> kept = {begin, lowest, highest, end - 1};
    std::sort(kept.begin(), kept.end());
    for (auto i = kept.begin(); i != std::unique(kept.begin(), kept.end()); ++i) {
      result.x.push_back(series.x[*i]);
      result.y.push_back(series.y[*i]);
      if (band) {
        result.low.push_back(low);
        result.high.push_back(high);
      }
    }
    begin = end;
  }
  return result;
}

std::string curve_block(const std::string& name, const Series& series) {
  std::string block = fmt::format("${} << EOD\n", name);
  for (size_t i = 0; i < series.x.size(); ++i) {
    const bool band = !series.low.empty() && std::isfinite(series.low[i]) && std::isfinite(series.high[i]);
    if (!std::isfinite(series.x[i]) || !std::isfinite(series.y[i])) {
      block += "\n";  // a break in the line
    } else if (band) {
      block += fmt::format("{:.8g} {:.8g} {:.8g} {:.8g}\n", series.x[i], series.y[i], series.low[i],
                           series.high[i]);
    } else {
      block += fmt::format("{:.8g} {:.8g}\n", series.x[i], series.y[i]);
    }
  }
  return block + "EOD\n";
}

std::string map_block(const std::string& name, const HeatMap& map) {
  std::string block = fmt::format("${} << EOD\n", name);
  for (int64_t r = 0; r < map.rows; ++r) {
    for (int64_t c = 0; c < map.columns; ++c) {
      const double value = map.values[static_cast<size_t>(r * map.columns + c)];
      block += std::isfinite(value) ? fmt::format("{:.6g} ", value) : "NaN ";
    }
    block += "\n";
  }
  return block + "EOD\n";
}

std::string axis_commands(const char* axis, const Axis& settings, const Range& range) {
  std::string text =
      fmt::format("set {0}label {1}\n{2}set logscale {0}\nset {0}range [{3:.10g}:{4:.10g}]\n", axis,
                  gnuplot_quoted(settings.label), settings.log ? "" : "un", range.low, range.high);
  std::vector<std::pair<double, std::string>> ticks = settings.ticks;
  if (ticks.empty() && settings.log) ticks = log_ticks(range.low, range.high);
  const auto labelled =
      std::count_if(ticks.begin(), ticks.end(), [](const auto& tick) { return !tick.second.empty(); });
  if (ticks.empty() || labelled == 0) return text + fmt::format("set {0}tics autofreq format '%g'\n", axis);
  text += fmt::format("set {}tics (", axis);
  for (size_t i = 0; i < ticks.size(); ++i) {
    text += fmt::format("{}{} {:.10g}{}", i == 0 ? "" : ", ", gnuplot_quoted(ticks[i].second), ticks[i].first,
                        ticks[i].second.empty() ? " 1" : "");
  }
  return text + ")\n";
}

std::string line_style(const Series& series, const std::string& colour) {
  if (series.points) return fmt::format("with points pt 6 ps 0.5 lw 0.9 lc rgb '{}'", colour);
  return fmt::format("with lines lw {} dt {} lc rgb '{}'", series.dashed ? 0.9 : 1.0,
                     series.dashed ? "(6,4)" : "1", colour);
}

std::string colour_of(const Panel& panel, size_t index) {
  const std::string& own = panel.series[index].colour;
  return own.empty() ? curve_colour(index, panel.series.size()) : own;
}

std::string curve_commands(const Panel& panel, const std::string& prefix) {
  const Ranges ranges = data_ranges(panel);
  std::string blocks, plots;
  for (size_t i = 0; i < panel.series.size(); ++i) {
    const std::string name = fmt::format("{}s{}", prefix, i);
    const Series series = thinned(panel.series[i], panel);
    blocks += curve_block(name, series);
    const bool band =
        std::any_of(series.low.begin(), series.low.end(), [](double x) { return std::isfinite(x); });
    if (band) {  // bands first, so that no band covers a curve
      plots =
          fmt::format(
              "${} using 1:3:4 with filledcurves fc rgb '{}' fs transparent solid 0.22 noborder notitle, ",
              name, colour_of(panel, i)) +
          plots;
    }
    plots +=
        fmt::format("${} using 1:2 {} notitle, ", name, line_style(panel.series[i], colour_of(panel, i)));
  }
  const bool zero = panel.zero_line && !panel.y.log && ranges.y.low < 0;
  const std::string line = zero ? "0 with lines lw 0.6 lc rgb '#777777' notitle, " : "";
  plots.resize(plots.size() - 2);
  return blocks + axis_commands("x", panel.x, ranges.x) + axis_commands("y", panel.y, ranges.y) +
         "set style line 9 lw 0.4 lc rgb '#dddddd'\nset grid x y ls 9, ls 9\nset tics front\nunset "
         "colorbox\nplot " +
         line + plots + "\n";
}

double colour_limit(const HeatMap& map) {
  if (map.limit) return *map.limit;
  std::vector<double> sizes;
  for (const double value : map.values) {
    if (std::isfinite(value)) sizes.push_back(std::abs(value));
  }
  if (sizes.empty()) throw InputError("figure: the map \"{}\" has no finite values to draw", map.label);
  const auto place =
      sizes.begin() + static_cast<std::ptrdiff_t>(0.99 * static_cast<double>(sizes.size() - 1));
  std::nth_element(sizes.begin(), place, sizes.end());
  return *place > 0 ? *place : 1.0;
}

/// The label of the colour bar, with the largest |value| where the bar ends before it.
std::string bar_label(const HeatMap& map, double limit) {
  double largest = 0;
  for (const double value : map.values) {
    if (std::isfinite(value)) largest = std::max(largest, std::abs(value));
  }
  return largest > 1.005 * limit ? fmt::format("{} (largest: {:.3g})", map.label, largest) : map.label;
}

std::string map_commands(const Panel& panel, const std::string& prefix) {
  const HeatMap& map = *panel.map;
  const double limit = colour_limit(map);
  const Range x{-0.5, static_cast<double>(map.columns) - 0.5}, y{-0.5, static_cast<double>(map.rows) - 0.5};
  std::string palette;
  if (map.is_signed) {  // ColorBrewer's RdBu with its red end browned: lightness alone tells the size
    palette =
        "(0 '#053061', 1 '#2166ac', 2 '#4393c3', 3 '#92c5de', 4 '#f7f7f7', 5 '#f4a582', 6 '#d6604d', 7 "
        "'#a3202c', "
        "8 '#5a0019')";
  } else {
    for (int i = 0; i <= 8; ++i)
      palette += fmt::format("{}{} '{}'", i == 0 ? "(" : ", ", i, ordered_colour(i / 8.0));
    palette += ")";
  }
  return map_block(prefix + "m", map) + axis_commands("x", panel.x, x) + axis_commands("y", panel.y, y) +
         fmt::format(
             "set palette defined {}\nset cbrange [{:.8g}:{:.8g}]\nset cblabel {}\nset cbtics autofreq "
             "format "
             "'%g'\nunset grid\nset tics out nomirror\nset object 1 rectangle from graph 0,0 to graph 1,1 "
             "behind fc "
             "rgb "
             "'#bbbbbb' fs noborder\nplot ${}m matrix with image notitle\nunset object 1\nset tics in "
             "mirror\n",
             palette, map.is_signed ? -limit : 0.0, limit, gnuplot_quoted(bar_label(map, limit)), prefix);
}

/// Legend entries of all panels, each label once.
struct Legend {
  std::vector<std::pair<std::string, std::string>> entries;  ///< label, style
  int columns = 1;
  int rows = 0;
};

Legend make_legend(const Figure& figure) {
  Legend legend;
  size_t longest = 0;
  for (const Panel& panel : figure.panels) {
    for (size_t i = 0; i < panel.series.size(); ++i) {
      const Series& series = panel.series[i];
      const auto same = [&](const auto& entry) { return entry.first == series.label; };
      if (series.label.empty() || std::any_of(legend.entries.begin(), legend.entries.end(), same)) continue;
      legend.entries.emplace_back(series.label, line_style(series, colour_of(panel, i)));
      longest = std::max(longest, characters(series.label));
    }
  }
  const double entry_cm = 1.4 + kLegendCharacterCm * static_cast<double>(longest);
  const auto count = static_cast<int>(legend.entries.size());
  legend.columns = std::clamp(static_cast<int>(figure.width_cm / entry_cm), 1, std::max(count, 1));
  legend.rows = (count + legend.columns - 1) / legend.columns;
  return legend;
}

std::string legend_commands(const Legend& legend, double height) {
  if (legend.entries.empty()) return "";
  std::string text = fmt::format(
      "set lmargin at screen 0\nset rmargin at screen 1\nset bmargin at screen 0\nset tmargin at screen "
      "{:.6f}\n"
      "unset border\nunset tics\nunset xlabel\nunset ylabel\nunset title\nunset grid\nunset logscale\nunset "
      "colorbox\n"
      "set xrange [0:1]\nset yrange [0:1]\n"
      "set key at screen 0.5, screen {:.6f} center center horizontal maxcols {} Left reverse samplen 2.2 "
      "spacing 1.1 "
      "noenhanced\nplot NaN notitle",
      height, height / 2, legend.columns);
  for (const auto& [label, style] : legend.entries) {
    text += fmt::format(", keyentry {} title {}", style, gnuplot_quoted(label));
  }
  return text + "\n";
}

std::string terminal(const std::string& extension, double width_cm, double height_cm) {
  const double width_points = width_cm / 2.54 * 72, height_points = height_cm / 2.54 * 72;
  if (extension == ".pdf") {
    return fmt::format(
        "set terminal pdfcairo size {:.3f}cm,{:.3f}cm font 'sans,{}' fontscale 0.75 linewidth 1.5 pointscale "
        "0.8 "
        "noenhanced\n",
        width_cm, height_cm, kFontPoints);
  }
  if (extension == ".svg") {
    return fmt::format(
        // gnuplot thinks of this terminal's letters as larger than they are.
        "set terminal svg size {:.0f},{:.0f} font 'DejaVu Sans,Arial,sans-serif,{}' linewidth 1 background "
        "'#ffffff' "
        "noenhanced\nset xlabel offset 0,0.5\nset key width -3\n",
        width_points, height_points, kFontPoints);
  }
  // Sizes are dots; gnuplot's own PNG has 72 of them an inch for lines and 96 for letters.
  const double scale = kPngDotsPerInch / 72, letters = kPngDotsPerInch / 96;
  return fmt::format(
      "set terminal pngcairo size {:.0f},{:.0f} font 'sans,{}' fontscale {:.4f} linewidth {:.4f} pointscale "
      "{:.4f} "
      "background '#ffffff' noenhanced\n",
      width_points * scale, height_points * scale, kFontPoints, letters, scale, scale * 0.8);
}

}  // namespace

std::string figure_script(const Figure& figure, const std::string& extension) {
  if (figure.panels.empty()) throw InternalError("figure: no panels");
  const Legend legend = make_legend(figure);
  const auto panels = static_cast<int>(figure.panels.size());
  const int columns = std::clamp(figure.columns, 1, panels);
  const int rows = (panels + columns - 1) / columns;
  const double title_cm = (figure.title.empty() ? 0.0 : 0.75) + (figure.note.empty() ? 0.0 : kLineCm);
  const double legend_cm = legend.rows > 0 ? 0.25 + kLineCm * legend.rows : 0.0;
  const double height_cm = title_cm + legend_cm + rows * figure.panel_height_cm;

  std::string script = terminal(extension, figure.width_cm, height_cm);
  script += "set encoding utf8\nset border lw 0.7\nset tics scale 0.6\nset key off\nset multiplot\n";
  if (!figure.title.empty()) {
    script += fmt::format("set label 1 {} at screen 0.5, screen {:.6f} center font ',{}' front\n",
                          gnuplot_quoted(figure.title), 1 - 0.375 / height_cm, kFontPoints + 1.5);
  }
  if (!figure.note.empty()) {
    script +=
        fmt::format("set label 2 {} at screen 0.5, screen {:.6f} center font ',{}' tc rgb '#555555' front\n",
                    gnuplot_quoted(figure.note), 1 - (title_cm - 0.5 * kLineCm) / height_cm, kFontPoints - 1);
  }
  const double bar_room = shared_bar_room(figure, columns), width = (figure.width_cm - bar_room) / columns;
  for (int i = 0; i < panels; ++i) {
    const Panel& panel = figure.panels[static_cast<size_t>(i)];
    check_curves_and_map(panel);
    if (panel.series.empty() && !panel.map && !panel.raster && !panel.mosaic)
      throw InternalError("figure: panel \"{}\" is empty", panel.title);
    const double left = width * (i % columns);
    const double top = height_cm - title_cm - figure.panel_height_cm * (i / columns);
    const std::string prefix = fmt::format("p{}", i);
    if (panel.raster || panel.mosaic) {
      PageBox box{left, left + width, top - figure.panel_height_cm, top};
      if (panel.raster) {
        const bool bar = panel.raster->colour_bar;
        const double room = bar || bar_room == 0 ? colour_bar_room(*panel.raster) : 0.0;
        if (bar) box.right += bar_room;
        script += raster_commands(panel, box, room, figure.width_cm, height_cm, prefix + "r");
      } else {
        script += mosaic_commands(panel, box, figure.width_cm, height_cm, prefix + "r");
      }
      if (i == 0) script += "unset label 1\nunset label 2\n";
      continue;
    }
    const double plot_top = top - (panel.title.empty() ? kTopCm : kTitleCm);
    const double plot_bottom = top - figure.panel_height_cm + kBottomCm;
    const double plot_right = left + width - (panel.map ? kColourBarCm : kRightCm);
    script += fmt::format(
        "set lmargin at screen {:.6f}\nset rmargin at screen {:.6f}\nset tmargin at screen {:.6f}\n"
        "set bmargin at screen {:.6f}\nset title {} offset 0,-0.4\n",
        (left + kLeftCm) / figure.width_cm, plot_right / figure.width_cm, plot_top / height_cm,
        plot_bottom / height_cm, gnuplot_quoted(panel.title));
    if (panel.map) {  // gnuplot's own choice grows with the plot and pushes its label off the page
      script += fmt::format(
          "set colorbox vertical user origin screen {:.6f}, screen {:.6f} size screen {:.6f}, screen "
          "{:.6f}\n",
          (plot_right + kBarGapCm) / figure.width_cm, plot_bottom / height_cm, kBarWidthCm / figure.width_cm,
          (plot_top - plot_bottom) / height_cm);
    }
    script += panel.map ? map_commands(panel, prefix) : curve_commands(panel, prefix);
    if (i == 0) script += "unset label 1\nunset label 2\n";
  }
  return script + legend_commands(legend, legend_cm / height_cm) + "unset multiplot\n";
}

}  // namespace ropescope
