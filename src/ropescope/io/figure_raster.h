// The gnuplot commands of a raster panel (figure.h).
#pragma once

#include <string>

#include "ropescope/io/figure.h"

namespace ropescope {

/// A rectangle of the page in cm; `top` and `bottom` count upwards from the page's lower edge.
struct PageBox {
  double left = 0, right = 0, bottom = 0, top = 0;
};

/// Draws `panel.raster` into `box` of a page of the given size. `name`: of its gnuplot data block. Throws
/// InputError if no value is finite, InternalError if rows * columns values are not there.
std::string raster_commands(const Panel& panel, const PageBox& box, double page_width_cm,
                            double page_height_cm, const std::string& name);

}  // namespace ropescope
