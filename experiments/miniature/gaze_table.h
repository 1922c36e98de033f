// What runs say together about where their high-resolution tokens look (gaze.h).
#pragma once

#include <array>
#include <filesystem>
#include <string>
#include <vector>

#include "ropescope/analysis/statistics.h"
#include "ropescope/core/json.h"

#include "gaze.h"
#include "table.h"

namespace ropescope::miniature {

/// Shares of a layer's attention, in the order of the table's columns.
inline constexpr const char* kGazeNames[] = {"thumbnail", "own", "misplaced_own", "misplaced_ids"};
inline constexpr size_t kGazeShares = 4;

struct GazeRow {
  std::string name;  ///< scheme and map, "id-align (mirror)"
  double theta = 0;
  std::string scaling;
  std::vector<int64_t> seeds;
  std::vector<std::array<Gaze, 2>> gazes;  ///< of each seed, on seen and on unseen grids
  /// [2: seen, unseen][layers][kGazeShares], over the seeds (Student t); NaN where no token is misplaced.
  std::array<std::vector<std::vector<MeanInterval>>, 2> intervals;
};

/// Rows of the table whose runs all have a gaze; `results`: the runs' files, beside `runs` one for one. Throws InputError.
std::vector<GazeRow> gaze_rows(const std::vector<Row>& rows, const std::vector<Run>& runs,
                               const std::vector<Json>& results);

/// A line for each row and layer, on unseen grids.
std::string gaze_table(const std::vector<GazeRow>& rows);
/// A line for each row, kind of grids, layer and seed.
std::string gaze_csv(const std::vector<GazeRow>& rows);
/// Where the tokens of one cell look, a panel for each row at `theta`: means over heads, layers, tokens and pictures of the first
/// seed, as wrong mappings by chance are others in each. Box: that cell; ring: the cell whose ids most of its tokens have.
void draw_gaze(const std::filesystem::path& file, const std::vector<GazeRow>& rows, double theta);

}  // namespace ropescope::miniature
