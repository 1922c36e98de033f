// Figures of /locality.
#pragma once

#include "ropescope/analysis/figures.h"

namespace ropescope {

/// Both probabilities against the length of the context, one curve a theta, with 95% bands and chance dashed.
Figure locality_curves(const ResultReader& result, const FigureSelection& selection);
/// The same for each kind of layers, a row of panels a theta.
Figure locality_by_kind(const ResultReader& result, const FigureSelection& selection);
/// Layer x length: how far from chance, a row of panels a theta.
Figure locality_by_layer(const ResultReader& result, const FigureSelection& selection);

}  // namespace ropescope
