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

/// Draws `panel.raster` into `box` of a page of the given size. `name`: of its gnuplot data block. Throws
/// InputError if no value is finite, InternalError if rows * columns values are not there.
std::string raster_commands(const Panel& panel, const PageBox& box, double page_width_cm,
                            double page_height_cm, const std::string& name);

}  // namespace ropescope
