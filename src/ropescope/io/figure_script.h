// The gnuplot script of a figure.
#pragma once

#include <string>

#include "ropescope/io/figure.h"

namespace ropescope {

/// `extension`: ".png", ".svg" or ".pdf". Throws InputError if a panel has nothing finite to draw,
/// InternalError if its arrays do not fit together.
std::string figure_script(const Figure& figure, const std::string& extension);

}  // namespace ropescope
