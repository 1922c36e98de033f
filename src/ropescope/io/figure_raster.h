// The gnuplot commands of a raster panel (figure.h).
#pragma once

#include <string>

#include "ropescope/io/figure.h"

namespace ropescope {

/// A rectangle of the page in cm; `top` and `bottom` count upwards from the page's lower edge.
struct PageBox {
  double left = 0, right = 0, bottom = 0, top = 0;
};

/// The bar of a viridis scale; numbers and label stand to its right.
struct ColourBar {
  double low = 0, high = 1;
  std::string label;
  PageBox bar;
};
inline constexpr double kColourBarGapCm = 0.12, kColourBarWidthCm = 0.22, kColourBarNumbersCm = 0.95,
                        kColourBarLabelCm = 0.55;
std::string colour_bar_commands(const ColourBar& bar, double page_width_cm, double page_height_cm);
std::string palette_commands(double low, double high);
std::string margin_commands(const PageBox& plot, double page_width_cm, double page_height_cm);

/// Room that the bar of a raster takes on its right, cm.
double colour_bar_room(const Raster& raster);

/// Room behind the last of `columns` for the bar that the rasters of a row share with the last one of it, so
/// that all are of one size; 0 where a panel is no raster or one before the last has its own bar.
double shared_bar_room(const Figure& figure, int columns);

/// Draws `panel.raster` into `box` of a page of the given size; its bar, if it has one, stands in the last
/// `bar_room` cm of the box. `name`: of its gnuplot data block. Throws InputError if no value is finite,
/// InternalError if rows * columns values are not there.
std::string raster_commands(const Panel& panel, const PageBox& box, double bar_room, double page_width_cm,
                            double page_height_cm, const std::string& name);

}  // namespace ropescope
