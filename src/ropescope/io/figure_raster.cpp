#include "ropescope/io/figure_raster.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "ropescope/core/errors.h"
#include "ropescope/core/numbers.h"
#include "ropescope/io/gnuplot.h"

namespace ropescope {

namespace {

constexpr double kRasterMarginCm = 0.15, kRasterTitleCm = 0.6;
/// Half a number of the colour bar stands below the raster.
constexpr double kRasterBottomCm = 0.3;

struct ColourRange {
  double low = kInfinity;
  double high = kNegativeInfinity;
};

ColourRange colour_range(const Raster& raster) {
  // A raster without values is grey where its range is given: it stands beside others that have some.
  ColourRange range;
  if (raster.low && raster.high) range = {*raster.low, *raster.high};
  for (const double value : raster.values) {
    if (!std::isfinite(value)) continue;
    range.low = std::min(range.low, value);
    range.high = std::max(range.high, value);
  }
  if (range.low > range.high) {
    throw InputError("figure: the raster \"{}\" has no finite values to draw", raster.label);
  }
  range.low = raster.low.value_or(range.low);
  range.high = raster.high.value_or(range.high);
  // One colour for one value; gnuplot refuses an empty range.
  if (!(range.high > range.low)) range.high = range.low + std::max(1e-9, std::abs(range.low) * 1e-6);
  return range;
}

/// 1, 2 or 5 times a power of ten, so that about `count` steps cover `width`.
double nice_step(double width, int count) {
  const double rough = width / count, power = std::pow(10.0, std::floor(std::log10(rough)));
  for (const double digit : {1.0, 2.0, 5.0}) {
    if (digit * power >= rough) return digit * power;
  }
  return 10 * power;
}

std::string raster_block(const Raster& raster, const std::string& name) {
  std::string block = fmt::format("${} << EOD\n", name);
  for (int64_t r = 0; r < raster.rows; ++r) {
    for (int64_t c = 0; c < raster.columns; ++c) {
      const double value = raster.values[static_cast<size_t>(r * raster.columns + c)];
      block += std::isfinite(value) ? fmt::format("{:.7g} ", value) : "NaN ";
    }
    block += "\n";
  }
  return block + "EOD\n";
}

/// How much of a pixel is the cell's colour; the rest is the photograph in grey, so that hue means value
/// only.
constexpr double kCellShare = 0.62;

std::array<double, 3> cell_colour(double value, const ColourRange& range) {
  const std::string text = ordered_colour((value - range.low) / (range.high - range.low));
  std::array<double, 3> rgb{};
  for (size_t i = 0; i < 3; ++i)
    rgb[i] = static_cast<double>(std::stoi(text.substr(1 + 2 * i, 2), nullptr, 16));
  return rgb;
}

/// Pixels as numbers red 65536 + green 256 + blue.
std::string photograph_block(const Raster& raster, const ColourRange& range, const std::string& name) {
  const Photograph& photograph = *raster.photograph;
  std::string block = fmt::format("${} << EOD\n", name);
  std::vector<std::array<double, 3>> colours;
  for (const double value : raster.values) {
    colours.push_back(std::isfinite(value) ? cell_colour(value, range) : std::array<double, 3>{});
  }
  for (int64_t y = 0; y < photograph.rows; ++y) {
    for (int64_t x = 0; x < photograph.columns; ++x) {
      const uint8_t* pixel = photograph.rgb.data() + 3 * (y * photograph.columns + x);
      const auto cell = static_cast<size_t>(y * raster.rows / photograph.rows * raster.columns +
                                            x * raster.columns / photograph.columns);
      std::array<double, 3> mixed = {double(pixel[0]), double(pixel[1]), double(pixel[2])};
      if (std::isfinite(raster.values[cell])) {
        const double grey = 0.299 * mixed[0] + 0.587 * mixed[1] + 0.114 * mixed[2];
        for (size_t i = 0; i < 3; ++i) mixed[i] = kCellShare * colours[cell][i] + (1 - kCellShare) * grey;
      }
      block += fmt::format(
          "{} ", std::lround(mixed[0]) * 65536 + std::lround(mixed[1]) * 256 + std::lround(mixed[2]));
    }
    block += "\n";
  }
  return block + "EOD\n";
}

void check_raster(const Panel& panel) {
  const Raster& raster = *panel.raster;
  bool fits = raster.rows >= 1 && raster.columns >= 1 &&
              raster.values.size() == static_cast<size_t>(raster.rows * raster.columns);
  if (raster.photograph) {
    const Photograph& photograph = *raster.photograph;
    fits = fits && photograph.rows >= 1 && photograph.columns >= 1 &&
           photograph.rgb.size() == static_cast<size_t>(3 * photograph.rows * photograph.columns);
  }
  if (!fits) {
    throw InternalError("figure: the raster of panel \"{}\" has the wrong number of values", panel.title);
  }
}

}  // namespace

std::string palette_commands(double low, double high) {
  std::string palette;
  for (int i = 0; i <= 8; ++i) {
    palette += fmt::format("{}{} '{}'", i == 0 ? "" : ", ", i, ordered_colour(i / 8.0));
  }
  return fmt::format("set palette defined ({})\nset cbrange [{:.8g}:{:.8g}]\n", palette, low, high);
}

std::string colour_bar_commands(const ColourBar& bar, double page_width_cm, double page_height_cm) {
  return fmt::format(
      "set colorbox vertical user origin screen {:.6f}, screen {:.6f} size screen {:.6f}, screen {:.6f}\nset "
      "cblabel {}\nset cbtics {:.3g} format '%g'\n",
      bar.bar.left / page_width_cm, bar.bar.bottom / page_height_cm,
      (bar.bar.right - bar.bar.left) / page_width_cm, (bar.bar.top - bar.bar.bottom) / page_height_cm,
      gnuplot_quoted(bar.label), nice_step(bar.high - bar.low, 5));
}

std::string margin_commands(const PageBox& plot, double page_width_cm, double page_height_cm) {
  return fmt::format(
      "set lmargin at screen {:.6f}\nset rmargin at screen {:.6f}\nset tmargin at screen {:.6f}\nset bmargin "
      "at screen {:.6f}\n",
      plot.left / page_width_cm, plot.right / page_width_cm, plot.top / page_height_cm,
      plot.bottom / page_height_cm);
}

double colour_bar_room(const Raster& raster) {
  return kColourBarGapCm + kColourBarWidthCm + kColourBarNumbersCm +
         (raster.label.empty() ? 0.0 : kColourBarLabelCm);
}

double shared_bar_room(const Figure& figure, int columns) {
  bool shared = false;
  double room = 0;
  for (size_t i = 0; i < figure.panels.size(); ++i) {
    const auto& raster = figure.panels[i].raster;
    const bool last = static_cast<int>(i) % columns == columns - 1;
    if (!raster || (raster->colour_bar && !last)) return 0;
    shared = shared || !raster->colour_bar;
    if (raster->colour_bar) room = std::max(room, colour_bar_room(*raster));
  }
  return shared ? room : 0;
}

std::string raster_commands(const Panel& panel, const PageBox& box, double bar_room, double page_width_cm,
                            double page_height_cm, const std::string& name) {
  const Raster& raster = *panel.raster;
  check_raster(panel);
  const ColourRange range = colour_range(raster);
  // Cells (or the photograph's pixels) are squares: the raster takes what fits, in the middle of its place.
  const auto wide = static_cast<double>(raster.photograph ? raster.photograph->columns : raster.columns);
  const auto high = static_cast<double>(raster.photograph ? raster.photograph->rows : raster.rows);
  const double most_width = box.right - box.left - 2 * kRasterMarginCm - bar_room;
  const double most_height = box.top - box.bottom - kRasterTitleCm - kRasterBottomCm;
  const double cell = std::min(most_width / wide, most_height / high);
  const double width = cell * wide, height = cell * high;
  const double left = box.left + kRasterMarginCm + 0.5 * (most_width - width), right = left + width;
  const double top = box.top - kRasterTitleCm - 0.5 * (most_height - height), bottom = top - height;

  std::string text = raster.photograph ? photograph_block(raster, range, name) : raster_block(raster, name);
  text += margin_commands({left, right, bottom, top}, page_width_cm, page_height_cm);
  text += fmt::format(
      "set title {} offset 0,-0.6\nunset xlabel\nunset ylabel\nunset xtics\nunset ytics\nunset x2tics\nunset y2tics\n"
      "unset grid\nunset logscale\nset xrange [-0.5:{}.5]\nset yrange [{}.5:-0.5]\n",
      gnuplot_quoted(panel.title), raster.columns - 1, raster.rows - 1);
  text += palette_commands(range.low, range.high);
  if (raster.colour_bar) {
    const double bar_left = right + kColourBarGapCm;
    const PageBox bar{bar_left, bar_left + kColourBarWidthCm, bottom, top};
    text += colour_bar_commands({range.low, range.high, raster.label, bar}, page_width_cm, page_height_cm);
  } else {
    text += "unset colorbox\n";
  }
  int object = 1;
  text += fmt::format(
      "set object {} rectangle from graph 0,0 to graph 1,1 behind fc rgb '#bbbbbb' fs noborder\n", object);
  // A white ring inside a black one shows on every colour.
  for (const auto& [column, row] : raster.marks) {
    const double radius = 0.75 + 0.012 * static_cast<double>(std::max(raster.rows, raster.columns));
    for (const auto& [colour, line] : {std::pair("#000000", 2.0), std::pair("#ffffff", 0.9)}) {
      text += fmt::format(
          "set object {} circle at first {:.6g},{:.6g} size first {:.4g} front fs empty border rgb '{}' lw "
          "{}\n",
          ++object, column, row, radius, colour, line);
    }
  }
  for (const auto& [x0, y0, x1, y1] : raster.boxes) {
    text += fmt::format(
        "set object {} rectangle from graph {:.6g},{:.6g} to graph {:.6g},{:.6g} front fs empty border rgb "
        "'#ff2020' lw 1.6\n",
        ++object, x0, 1 - y1, x1, 1 - y0);
  }
  if (raster.photograph) {
    // Pixel centres in the coordinates of cells. A palette is drawn only with a plot that uses it.
    const double x = static_cast<double>(raster.columns) / wide, y = static_cast<double>(raster.rows) / high;
    text += fmt::format(
        "plot ${} matrix using (($1+0.5)*{:.9g}-0.5):(($2+0.5)*{:.9g}-0.5):(int($3)/65536):(int($3)/256%256):"
        "(int($3)%256) with rgbimage notitle",
        name, x, y);
    text += raster.colour_bar
                ? fmt::format(", '+' using (NaN):(NaN):({:.8g}) with points palette notitle\n", range.low)
                : "\n";
  } else {
    text += fmt::format("plot ${} matrix with image notitle\n", name);
  }
  for (; object > 0; --object) text += fmt::format("unset object {}\n", object);
  return text;
}

}  // namespace ropescope
