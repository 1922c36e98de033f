// Figures of result files: one kind for each way to look at what a file holds. To add one, write its function
// in figures.cpp (or a file beside it) and give it a line in figure_kinds().
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/io/figure.h"
#include "ropescope/io/result_file.h"

namespace ropescope {

/// What a user may narrow a figure down to; empty means all (or as many as are legible, evenly spread).
struct FigureSelection {
  std::vector<double> theta;
  std::vector<int64_t> layers;
  std::optional<double> max_distance;  ///< tokens
  std::vector<int64_t> heads;
  std::string queries;          ///< attention maps: the set of queries that look; empty: the first
  std::string average = "all";  ///< attention maps: over all, heads, layers, or none
};

struct FigureKind {
  std::string name;     ///< key of --kind; never renamed
  std::string summary;  ///< one clause
  /// Whether the file holds what the figure shows.
  bool (*applies)(const ResultReader& result);
  /// Throws InputError if the datasets do not fit together.
  Figure (*make)(const ResultReader& result, const FigureSelection& selection);
};

/// All kinds; the first that applies to a file is its default.
const std::vector<FigureKind>& figure_kinds();

/// Draws `result` as `figure` (.png, .svg, .pdf). `kind` empty: the file's default. Returns the kind's name.
/// Throws UsageError (unknown kind, with the nearest name; a kind that does not apply, with those that do),
/// InputError, EnvironmentError (no gnuplot).
std::string plot_result(const std::filesystem::path& result, const std::string& kind,
                        const std::filesystem::path& figure, bool force,
                        const FigureSelection& selection = {});

}  // namespace ropescope
