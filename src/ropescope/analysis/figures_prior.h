// Figures of /prior.
#pragma once

#include "ropescope/analysis/figures.h"

namespace ropescope {

/// Expected logits from the query onto the first two rasters (thumbnail and high resolution), scheme by
/// scheme, best first; a ring marks the query.
Figure prior_maps(const ResultReader& result, const FigureSelection& selection);
/// Expected share of attention on visual tokens against the length of text between image and query.
Figure prior_fading(const ResultReader& result, const FigureSelection& selection);

/// The group of a scheme's results below `root`: "/prior/mrope_interleaved" of "mrope/interleaved".
std::string scheme_group(const std::string& root, const std::string& scheme);
/// A legend has one width for all its labels: long settings are cut.
std::string short_label(const std::string& scheme);
/// Curves of <root>/<scheme>/fading over <root>/text_lengths, and that of uniform attention.
Panel fading_panel(const ResultReader& result, const std::string& root,
                   const std::vector<std::string>& schemes);

}  // namespace ropescope
