// Learning curves: loss and gradient norm against the step, smoothed as the papers do, many runs in one
// figure.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "ropescope/analysis/figures.h"

namespace ropescope {

/// What the papers smooth over, steps.
inline constexpr int64_t kTrainingWindow = 100;

struct TrainingRunFile {
  std::string label;           ///< in the legend
  std::filesystem::path file;  ///< a result file with /train, or a run's folder
};

/// The mean of the last `window` values (fewer at the beginning). Values that are not finite count nothing.
std::vector<double> sliding_mean(const std::vector<double>& values, int64_t window);

/// Two panels. Of a single run the values themselves lie behind, in grey. Throws InputError, UsageError for
/// two runs of one label.
Figure training_figure(const std::vector<TrainingRunFile>& runs, int64_t window = kTrainingWindow);

/// The kind `training` of figure_kinds().
Figure training_curves(const ResultReader& result, const FigureSelection& selection);

/// curves.h5 of a run's folder; any other path as it is.
std::filesystem::path training_file(const std::filesystem::path& given);

}  // namespace ropescope
