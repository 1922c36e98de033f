// Figures of what `ropescope evaluate` wrote.
#pragma once

#include <string>
#include <vector>

#include "ropescope/analysis/figures.h"

namespace ropescope {

struct FadingRunFile {
  std::string label;           ///< of the run; empty: its curves are named by their schemes alone
  std::filesystem::path file;  ///< a result file with /long_context
};

/// A benchmark's figure, and where pictures were asked about the attention on them, against the length of the
/// text between picture and question; one curve a scheme and run, bands: 95 % intervals. Throws InputError
/// for runs of different benchmarks.
Figure fading_figure(const std::vector<FadingRunFile>& runs);

/// The kind `evaluation-fading` of figure_kinds().
Figure evaluation_fading(const ResultReader& result, const FigureSelection& selection);

/// MM-NIAH: accuracy by length of the context and depth of the needle; cells without questions stay grey.
Figure niah_map(const ResultReader& result, const FigureSelection& selection);

/// result.h5 of a folder that evaluate wrote; any other path as it is.
std::filesystem::path evaluation_file(const std::filesystem::path& given);
/// Whether it is a run over several lengths.
bool is_fading_run(const std::filesystem::path& given);

}  // namespace ropescope
