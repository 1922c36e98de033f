// Figures of /decay.
#pragma once

#include "ropescope/analysis/figures.h"

namespace ropescope {

/// Mean inner product against distance, one curve a theta, with 95% bands.
Figure decay_curves(const ResultReader& result, const FigureSelection& selection);
/// The same for each kind of layers, one panel a theta, windows marked.
Figure decay_by_kind(const ResultReader& result, const FigureSelection& selection);
/// The same for each kind of pair of texts with pictures: text to visual, ....
Figure decay_by_tokens(const ResultReader& result, const FigureSelection& selection);
/// Layer x distance and head x distance, one panel a theta; each row divided by its largest magnitude.
Figure decay_by_layer(const ResultReader& result, const FigureSelection& selection);
Figure decay_by_head(const ResultReader& result, const FigureSelection& selection);
/// Theta x distance.
Figure decay_by_theta(const ResultReader& result, const FigureSelection& selection);
/// |mean| under the Abel bound (eq. 18), both logarithmic.
Figure decay_bound(const ResultReader& result, const FigureSelection& selection);
/// What each band of frequencies adds to the curve.
Figure decay_bands(const ResultReader& result, const FigureSelection& selection);

}  // namespace ropescope
