// From the results of runs to a table, its data, and curves.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/analysis/statistics.h"
#include "ropescope/core/json.h"
#include "ropescope/io/result_file.h"

#include "gaze.h"
#include "world.h"

namespace ropescope::miniature {

/// Shares that a run measures, in the order of the table's columns.
inline constexpr const char* kMeasureNames[] = {"correspondence_seen", "correspondence_unseen",
                                                "answers_seen", "answers_unseen"};
inline constexpr size_t kMeasures = 4;
/// What counts as solved, for "steps to 90%".
inline constexpr double kSolved = 0.9;

/// One run, as `ropescope-miniature train` writes it.
struct Run {
  World world;
  std::string scheme, map;  ///< map: of inherited ids (id-align's wrong=), "" the right one
  std::string compress;     ///< as compression_text says it; "" none
  std::string scaling;      ///< of the rotation, "yarn:4"; "" none
  /// In the end: shares of tokens left on seen and unseen grids, of cells with a token of their own; empty without compression.
  std::vector<double> left;
  double theta = 0, correspondence = 0;
  int64_t longest = 0;  ///< tokens of the longest sequence that it was trained on
  int64_t seed = 0;
  int64_t planned = 0;               ///< steps that it was to have
  std::vector<int64_t> distractors;  ///< lengths of text between picture and questions; {}: none
  bool stopped = false;              ///< before them, with everything right
  std::vector<int64_t> steps;
  std::vector<std::vector<double>> curves;                  ///< [kMeasures][steps]
  std::vector<std::vector<std::array<int64_t, 2>>> counts;  ///< the same: right, asked
  double seconds = 0;
  std::optional<std::array<Gaze, 2>> gaze;  ///< on each of kGrids, where it was asked for
};

/// Throws InputError for a file that is no result of a run; its contents are parse_run's to judge.
void check_is_run(const Json& json, const std::string& what);
/// Throws InputError for a file that is none.
Run parse_run(const Json& json, const std::string& what);

/// Runs that differ in their seed only.
struct Row {
  World world;
  std::string scheme, map, compress, scaling;
  double theta = 0, correspondence = 0;
  int64_t steps = 0;  ///< planned
  std::vector<Run> runs;
  std::vector<MeanInterval> measures;  ///< [kMeasures], of the last point of each run
  /// First step at which answers on seen grids are right in kSolved of the cases, of runs that get there.
  std::vector<double> steps_to_solved;
};

/// In the order of `order` (schemes), then by theta; others after them. Throws InputError for runs over pictures of
/// different kinds, which were asked different things, and for two runs of one row and seed: they are not two seeds.
std::vector<Row> make_rows(const std::vector<Run>& runs, const std::vector<std::string>& order);

/// What runs differ in besides the scheme: " (mirror)", " (pool-2, mean)", "".
std::string detail_text(const std::string& map, const std::string& compress);
std::string detail_of(const Row& row);
/// "10⁴", or "10⁴ yarn:4".
std::string theta_text(const Row& row);
/// "answers and cells", or "answers".
std::string targets_text(const Row& row);
/// 95% interval of a share: over the seeds (Student t, kept within 0 and 1); "—" where nothing was asked.
std::string share_text(const MeanInterval& interval);

std::string markdown_table(const std::vector<Row>& rows);
std::string csv_table(const std::vector<Row>& rows);
/// One line for each run and point of its curve; of each measure how many were right and asked, whose quotient is the share.
std::string runs_csv(const std::vector<Row>& rows);
/// /miniature/{scheme, map, compress, theta, scaling, correspondence_weight, seeds, <measure> [rows, 3: mean, low, high], ...} and
/// /curves/<row>/{step, <measure> [steps, 3]}; `more` adds to the file, where there is more.
void write_rows(const std::filesystem::path& file, const std::vector<Row>& rows, const Provenance& provenance,
                const std::function<void(ResultWriter&)>& more = nullptr);
/// Answers and correspondence over the steps, on seen and unseen grids, of rows with `theta` and no scaling.
void draw_rows(const std::filesystem::path& file, const std::vector<Row>& rows, double theta);

}  // namespace ropescope::miniature
