// Figures of /attention.
#pragma once

#include "ropescope/analysis/figures.h"

namespace ropescope {

/// Whether the file holds rows of a first input with visual tokens.
bool attention_maps_apply(const ResultReader& result);
/// Fig. 4 of arXiv 2505.21465: attention from a set of queries (a red region, a word) onto the thumbnail, and
/// below onto the high-resolution tokens if those queries see them, over the picture, side by side for all
/// schemes. First input. Throws UsageError for a set, layers or heads that the file does not hold.
Figure attention_maps(const ResultReader& result, const FigureSelection& selection);
/// Mean over heads, queries and inputs, layer by layer.
Figure attention_layers(const ResultReader& result, const FigureSelection& selection);
/// Measured share of attention on visual tokens against the length of text between image and question.
Figure attention_fading(const ResultReader& result, const FigureSelection& selection);

}  // namespace ropescope
