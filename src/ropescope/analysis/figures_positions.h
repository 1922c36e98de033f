// Pictures of /positions: a layout coloured by position on each axis.
#pragma once

#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/analysis/figures.h"
#include "ropescope/rope/layout.h"

namespace ropescope {

/// The coordinates of one scheme on one layout.
struct PlacedLayout {
  std::string name;  ///< of the scheme, and of the layout where there are several
  Layout layout;
  at::Tensor coordinates;              ///< [axes, tokens] float64
  std::vector<std::string> row_names = {};  ///< of the axes; empty: t, h, w
};

/// One panel a scheme and axis: pictures as rasters (thumbnail and high-resolution grid side by side, then
/// the column of newline tokens; tiles that stand in the sequence one by one as the grid that they make, in
/// the picture's place of the sequence, with a strip of all separators), text runs as strips from top to bottom, the first anyres block's upper left
/// corner enlarged with its ids. Colours span the coordinates of one scheme. Throws UsageError for more
/// panels than a page can take.
Figure position_figure(const std::vector<PlacedLayout>& placed);

/// The same from a result file of `ropescope positions`.
Figure position_figure(const ResultReader& result, const FigureSelection& selection);
bool has_positions(const ResultReader& result);

}  // namespace ropescope
