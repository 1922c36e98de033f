// Figures of /prior.
#pragma once

#include "ropescope/analysis/figures.h"

namespace ropescope {

/// Expected logits from the query onto the first two rasters (thumbnail and high resolution), scheme by
/// scheme, best first; a ring marks the query.
Figure prior_maps(const ResultReader& result, const FigureSelection& selection);
/// Expected share of attention on visual tokens against the length of text between image and query.
Figure prior_fading(const ResultReader& result, const FigureSelection& selection);

}  // namespace ropescope
