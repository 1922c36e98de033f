// The gnuplot commands of a mosaic panel (figure.h).
#pragma once

#include <string>

#include "ropescope/io/figure_raster.h"

namespace ropescope {

/// Width in cm of all tiles side by side, `height` cm high, and of the room that a page leaves them: for
/// dividing many tiles among panels.
double mosaic_width(const Mosaic& mosaic, double height);
double mosaic_room(double page_width_cm);

/// Draws `panel.mosaic` into `box`, arguments as raster_commands. Throws InternalError if a tile's
/// rows * columns values are not there, InputError for a value that is not finite.
std::string mosaic_commands(const Panel& panel, const PageBox& box, double page_width_cm,
                            double page_height_cm, const std::string& name);

}  // namespace ropescope
