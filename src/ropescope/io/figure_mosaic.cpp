#include "ropescope/io/figure_mosaic.h"

#include <algorithm>
#include <cmath>

#include "ropescope/core/errors.h"
#include "ropescope/io/gnuplot.h"

namespace ropescope {

namespace {

constexpr double kMosaicMarginCm = 0.3, kMosaicTitleCm = 0.55;
constexpr double kTextCm = 0.38;  // a line above or below a tile
constexpr double kGapCm = 0.3, kJoinedGapCm = 0.08;
constexpr double kLeastTileCm = 0.3, kLeastJoinedCm = 0.14;
constexpr double kBarCm = kColourBarGapCm + kColourBarWidthCm + kColourBarNumbersCm;
constexpr double kTileCharacterCm = 0.125;
constexpr double kTileFontPoints = 6.5, kNumberFontPoints = 5.0;

double text_width(const std::string& text) {
  const auto letters = std::count_if(text.begin(), text.end(),
                                     [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
  return kTileCharacterCm * static_cast<double>(letters);
}

double tile_width(const Mosaic::Tile& tile, double height) {
  return std::max(tile.width * height, tile.joined ? kLeastJoinedCm : kLeastTileCm);
}

/// A tile with room for its title and caption.
double slot_width(const Mosaic::Tile& tile, double height) {
  const double text = std::max(text_width(tile.title), text_width(tile.caption));
  return std::max(tile_width(tile, height), tile.joined ? 0.0 : text);
}

double gap_before(const Mosaic& mosaic, size_t index) {
  return index == 0 ? 0.0 : (mosaic.tiles[index].joined ? kJoinedGapCm : kGapCm);
}

/// The largest height at which all tiles fit side by side.
double fitting_height(const Mosaic& mosaic, double most_width, double most_height) {
  if (mosaic_width(mosaic, most_height) <= most_width) return most_height;
  double low = 0, high = most_height;
  for (int step = 0; step < 40; ++step) {
    const double middle = 0.5 * (low + high);
    (mosaic_width(mosaic, middle) <= most_width ? low : high) = middle;
  }
  return std::max(low, 0.2);  // too many tiles overlap rather than vanish
}

void check_tile(const Mosaic::Tile& tile) {
  if (tile.rows < 1 || tile.columns < 1 ||
      tile.values.size() != static_cast<size_t>(tile.rows * tile.columns)) {
    throw InternalError("figure: the tile \"{}\" has the wrong number of values", tile.title);
  }
  if (!std::all_of(tile.values.begin(), tile.values.end(), [](double x) { return std::isfinite(x); })) {
    throw InputError("figure: the tile \"{}\" has a value that is not finite", tile.title);
  }
}

/// gnuplot learns the size of a cell from its neighbour, so a single row or column is drawn as two halves.
int64_t drawn(int64_t cells) { return std::max<int64_t>(cells, 2); }

std::string tile_block(const Mosaic::Tile& tile, const std::string& name) {
  std::string block = fmt::format("${} << EOD\n", name);
  for (int64_t r = 0; r < drawn(tile.rows); ++r) {
    for (int64_t c = 0; c < drawn(tile.columns); ++c) {
      const int64_t row = std::min(r, tile.rows - 1), column = std::min(c, tile.columns - 1);
      block += fmt::format("{:.7g} ", tile.values[static_cast<size_t>(row * tile.columns + column)]);
    }
    block += "\n";
  }
  return block + "EOD\n";
}

/// Collects what a mosaic draws; x and y in cm from the lower left corner of its place.
class Drawing {
 public:
  explicit Drawing(const Mosaic& mosaic) : mosaic_(mosaic) {}

  void add(const Mosaic::Tile& tile, const std::string& name, double left, double bottom, double width,
           double height) {
    blocks_ += tile_block(tile, name);
    const double dx = width / static_cast<double>(drawn(tile.columns));
    const double dy = height / static_cast<double>(drawn(tile.rows));
    plots_ += fmt::format(
        "{}${} matrix using ({:.6g}+($1+0.5)*{:.6g}):({:.6g}-($2+0.5)*{:.6g}):3 with image "
        "notitle",
        plots_.empty() ? "" : ", ", name, left, dx, bottom + height, dy);
    decorations_ += fmt::format(
        "set object {} rectangle from first {:.6g},{:.6g} to first {:.6g},{:.6g} front fs empty border rgb "
        "'#555555' lw 0.5\n",
        ++objects_, left, bottom, left + width, bottom + height);
    const double centre = left + 0.5 * width;
    label(tile.title, centre, bottom + height + 0.5 * kTextCm);
    label(tile.caption, centre, bottom - 0.5 * kTextCm);
    if (tile.numbers) add_numbers(tile, left, bottom, width, height);
  }

  void label(const std::string& text, double x, double y, double points = kTileFontPoints,
             const char* colour = "#000000") {
    if (text.empty()) return;
    decorations_ +=
        fmt::format("set label {} {} at first {:.6g},{:.6g} center front font ',{}' textcolor rgb '{}'\n",
                    ++labels_, gnuplot_quoted(text), x, y, points, colour);
  }

  std::string commands() const {
    std::string text = blocks_ + decorations_ + "plot " + plots_ + "\n";
    for (int i = kFirst + 1; i <= objects_; ++i) text += fmt::format("unset object {}\n", i);
    for (int i = kFirst + 1; i <= labels_; ++i) text += fmt::format("unset label {}\n", i);
    return text;
  }

 private:
  static constexpr int kFirst = 100;  // past the labels and objects of the page

  void add_numbers(const Mosaic::Tile& tile, double left, double bottom, double width, double height) {
    const double middle = 0.5 * (mosaic_.low + mosaic_.high);
    for (int64_t r = 0; r < tile.rows; ++r) {
      for (int64_t c = 0; c < tile.columns; ++c) {
        const double value = tile.values[static_cast<size_t>(r * tile.columns + c)];
        label(fmt::format("{:g}", std::round(value * 100) / 100),
              left + width * (static_cast<double>(c) + 0.5) / static_cast<double>(tile.columns),
              bottom + height - height * (static_cast<double>(r) + 0.5) / static_cast<double>(tile.rows),
              kNumberFontPoints, value < middle ? "#ffffff" : "#000000");
      }
    }
  }

  const Mosaic& mosaic_;
  std::string blocks_, decorations_, plots_;
  int objects_ = kFirst, labels_ = kFirst;
};

}  // namespace

double mosaic_width(const Mosaic& mosaic, double height) {
  double width = 0;
  for (size_t i = 0; i < mosaic.tiles.size(); ++i) {
    width += gap_before(mosaic, i) + slot_width(mosaic.tiles[i], height);
  }
  return width;
}

double mosaic_room(double page_width_cm) { return page_width_cm - 2 * kMosaicMarginCm - kBarCm; }

std::string mosaic_commands(const Panel& panel, const PageBox& box, double page_width_cm,
                            double page_height_cm, const std::string& name) {
  const Mosaic& mosaic = *panel.mosaic;
  if (mosaic.tiles.empty()) throw InternalError("figure: the mosaic of panel \"{}\" is empty", panel.title);
  for (const Mosaic::Tile& tile : mosaic.tiles) check_tile(tile);
  const PageBox plot{box.left + kMosaicMarginCm, box.right - kMosaicMarginCm - kBarCm, box.bottom + 0.1,
                     box.top - kMosaicTitleCm};
  const double most_width = plot.right - plot.left, plot_height = plot.top - plot.bottom;
  const double most_height = plot_height - 2 * kTextCm;
  const double height = fitting_height(mosaic, most_width, most_height);
  const double bottom = plot_height - kTextCm - height;
  // One colour for one value; gnuplot refuses an empty range.
  const double high = mosaic.high > mosaic.low ? mosaic.high : mosaic.low + 1;

  Drawing drawing(mosaic);
  double left = 0;
  for (size_t i = 0; i < mosaic.tiles.size(); ++i) {
    const Mosaic::Tile& tile = mosaic.tiles[i];
    const double width = tile_width(tile, height), slot = slot_width(tile, height);
    left += gap_before(mosaic, i);
    drawing.add(tile, fmt::format("{}t{}", name, i), left + 0.5 * (slot - width), bottom, width, height);
    left += slot;
  }
  const double bar_left = plot.right + kColourBarGapCm;
  drawing.label(mosaic.label, most_width + kColourBarGapCm + 0.5 * kColourBarWidthCm,
                bottom + height + 0.5 * kTextCm);
  const PageBox bar{bar_left, bar_left + kColourBarWidthCm, plot.bottom + bottom,
                    plot.bottom + bottom + height};
  return margin_commands(plot, page_width_cm, page_height_cm) +
         fmt::format(
             "set title {} offset 0,-0.4\nunset xlabel\nunset ylabel\nunset xtics\nunset ytics\nunset grid\n"
             "unset logscale\nunset border\nset xrange [0:{:.6g}]\nset yrange [0:{:.6g}]\n",
             gnuplot_quoted(panel.title), most_width, plot_height) +
         palette_commands(mosaic.low, high) +
         colour_bar_commands({mosaic.low, high, "", bar}, page_width_cm, page_height_cm) +
         drawing.commands() + "set border lw 0.7\n";
}

}  // namespace ropescope
