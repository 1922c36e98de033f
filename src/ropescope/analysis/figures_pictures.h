// Figures of where on a picture attention gathers, and of whether the pattern moves.
#pragma once

#include "ropescope/analysis/figures.h"
#include "ropescope/io/figure.h"
#include "ropescope/io/result_file.h"

namespace ropescope {

/// Whether an attention file holds sinks, or drift.
bool sinks_apply(const ResultReader& result);
bool drift_applies(const ResultReader& result);

/// A row a scheme: the corners' share in uniform shares, layer x head, and the attention of each cell of the first raster.
Figure sink_maps(const ResultReader& result, const FigureSelection& selection);
/// A row a scheme, a panel for rows and one for columns: correlation of the patterns of two tokens, lag x shift. A pattern that
/// marches is a ridge along the diagonal, one that stands still a column at 0.
Figure drift_maps(const ResultReader& result, const FigureSelection& selection);

}  // namespace ropescope
