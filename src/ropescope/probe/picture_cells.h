// Which pixels of a picture each token of LLaVA-NeXT's grids shows.
#pragma once

#include "ropescope/probe/attention_input.h"
#include "ropescope/vision/anyres.h"

namespace ropescope {

/// Sets the picture's cell maps to those of the geometry: the thumbnail covers the picture, the high-resolution
/// grid the part of the padded picture that its rows and columns were cut from. `picture` has its size.
void set_cell_maps(AttendedPicture& picture, const AnyresGeometry& geometry);

}  // namespace ropescope
