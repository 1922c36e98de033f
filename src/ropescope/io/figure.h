// Figures: a small description (panels of curves or maps), drawn by gnuplot as PNG, SVG or PDF at the width
// of a printed page. Colours are safe for colour-blind readers: Okabe and Ito's set for curves, viridis for
// ordered families and one-signed maps, blue-white-brown for signed maps.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace ropescope {

/// "#rrggbb" of curve `index` of `count`: distinct hues up to seven, then an ordered scale.
std::string curve_colour(size_t index, size_t count);
/// "#rrggbb" at `position` (0..1) of the ordered scale.
std::string ordered_colour(double position);

/// One curve. x, y (and low, high: its band, when given) have one length; non-finite y break the line.
struct Series {
  std::string label;  ///< in the legend; empty: not there
  std::vector<double> x, y;
  std::vector<double> low, high;
  std::string colour;  ///< "#rrggbb"; empty: by its place among the panel's curves
  bool dashed = false;
  bool points = false;  ///< markers instead of a line
};

/// values[r * columns + c], drawn with row 0 at the bottom. NaN stays grey.
struct HeatMap {
  int64_t rows = 0, columns = 0;
  std::vector<double> values;
  std::string label;      ///< of the colour bar, with its unit
  bool is_signed = true;  ///< colours centred on 0
  /// Largest |value| of the colour bar; unset: the 99th percentile of |values| (a few outliers would hide the
  /// rest).
  std::optional<double> limit;
};

/// A photograph: rgb[3 * (r * columns + c) + channel], row 0 on top.
struct Photograph {
  int64_t rows = 0, columns = 0;
  std::vector<uint8_t> rgb;
};

/// A picture of cells: values[r * columns + c] with row 0 on top, cells square, viridis. NaN stays grey.
struct Raster {
  int64_t rows = 0, columns = 0;
  std::vector<double> values;
  std::string label;                               ///< of the colour bar, with its unit
  std::optional<double> low, high;                 ///< ends of the colour bar; unset: from the values
  bool colour_bar = true;                          ///< panels that share a range may leave it out
  std::vector<std::pair<double, double>> marks{};  ///< {column, row} of cells with a ring around them
  /// The cells lie over it, half transparent, and have its proportions in place of squares; NaN shows it as
  /// it is. At most some hundred thousand pixels, each is drawn.
  std::optional<Photograph> photograph{};
  /// {left, top, right, bottom} in shares of the whole picture: red outlines.
  std::vector<std::array<double, 4>> boxes{};
};

/// Pictures of cells side by side, all of one height and under one colour bar (viridis): the parts of a
/// sequence.
struct Mosaic {
  struct Tile {
    int64_t rows = 0, columns = 0;
    std::vector<double> values;  ///< values[r * columns + c], row 0 on top
    std::string title, caption;  ///< above and below
    double width = 1.0;          ///< in heights of the mosaic; narrow tiles keep a legible width
    bool numbers = false;        ///< every value written into its cell
    bool joined = false;         ///< stands close to the tile before it
  };
  std::vector<Tile> tiles;
  std::string label;  ///< above the colour bar; short
  double low = 0, high = 1;
};

struct Axis {
  std::string label;  ///< with its unit
  bool log = false;
  std::optional<double> low, high;                    ///< unset: from the data
  std::vector<std::pair<double, std::string>> ticks;  ///< unset: gnuplot's choice; for maps, in cells
};

struct Panel {
  std::string title;
  Axis x, y;
  std::vector<Series> series;
  std::optional<HeatMap> map;    ///< instead of series
  std::optional<Raster> raster;  ///< instead of series; without axes
  std::optional<Mosaic> mosaic;  ///< instead of series; without axes
  bool zero_line = false;        ///< a thin line at y = 0
};

/// Panels fill rows of `columns`. One legend below serves all panels: series with the same label must look
/// alike.
struct Figure {
  std::string title;
  std::string note;  ///< a small line under the title: sources, what is left out
  std::vector<Panel> panels;
  int columns = 1;
  double width_cm = 17.0;  ///< text width of a page
  double panel_height_cm = 8.0;
};

/// Draws into `path`, whose extension (.png, .svg, .pdf) says how; the file appears when it is complete.
/// Throws UsageError (other extension, existing file without `force`), InputError if there is nothing finite
/// to draw, EnvironmentError if gnuplot is missing or fails.
void draw_figure(const Figure& figure, const std::filesystem::path& path, bool force);

/// Throws the UsageErrors of draw_figure, for checking before long work.
void check_figure_path(const std::filesystem::path& path, bool force);

/// Ticks of a logarithmic axis from `low` to `high` (> 0): labelled decades, unlabelled 2..9 between.
std::vector<std::pair<double, std::string>> log_ticks(double low, double high);
/// "10⁴" for powers of ten from 10⁴ on, "3.16×10⁶" for other numbers from there on (three digits), else up to six digits.
std::string number_label(double value);

}  // namespace ropescope
