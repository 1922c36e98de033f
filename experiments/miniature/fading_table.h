// What runs say that were asked behind distractors of several lengths (distractors.h): means over their seeds, differences seed by seed
// and the lengths at which one encoding overtakes another.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/analysis/statistics.h"
#include "ropescope/core/json.h"
#include "ropescope/io/result_file.h"

#include "comparisons.h"
#include "crossings.h"
#include "world.h"

namespace ropescope::miniature {

/// What is measured at each length; the first two are shares of right answers.
inline constexpr const char* kFadingNames[] = {"answers_seen", "answers_unseen", "visual_share_seen",
                                               "visual_share_unseen"};
inline constexpr size_t kFadingMeasures = 4, kFadingAnswers = 2;
/// Answers that differ by so little count as equal where a crossing is looked for: 12 of 256.
inline constexpr double kTie = 0.05;

/// The conditions that all runs of a table share.
struct FadingPlan {
  World world;
  double theta = 0, correspondence = 0;
  std::string scaling;  ///< of the rotation; "" none
  int64_t steps = 0;
  std::vector<int64_t> trained;                ///< of distractors that training drew from; empty: none
  std::vector<int64_t> lengths;                ///< asked behind, ascending
  std::array<int64_t, 2> pictures{}, asked{};  ///< of seen and of unseen grids: at each length
  bool operator==(const FadingPlan&) const = default;
};

struct FadingRun {
  FadingPlan plan;
  std::string scheme;  ///< with what its ids were made wrong by: "id-align (mirror)"
  int64_t seed = 0;
  std::vector<std::vector<double>> values;    ///< [kFadingMeasures][lengths]
  std::array<std::vector<int64_t>, 2> right;  ///< [lengths]
};

/// Nothing for a run that was asked behind no distractor. Throws InputError for a file that is none.
std::optional<FadingRun> parse_fading_run(const Json& json, const std::string& what);

struct FadingRow {
  std::string scheme;
  std::vector<FadingRun> runs;  ///< by seed
  std::vector<std::vector<MeanInterval>>
      intervals;  ///< [kFadingMeasures][lengths], over the seeds (Student t)
};

struct FadingTable {
  FadingPlan plan;
  std::vector<FadingRow> rows;
};

/// Rows in the order of `order`, others after them by name. `runs`: at least one. Throws InputError for runs of different plans, or two of
/// one scheme and seed.
FadingTable make_fading_table(const std::vector<FadingRun>& runs, const std::vector<std::string>& order);

/// One row minus another over the seeds that both have.
struct FadingComparison {
  size_t with = 0, without = 0;
  std::vector<std::vector<Difference>>
      differences;  ///< [kFadingMeasures][lengths]; Holm over the comparisons of one measure and length
  std::vector<std::vector<std::optional<Crossing>>> crossings;  ///< [kFadingAnswers][seeds]
};
/// What DIPE's queries are anchored on: "dipe+id-align+vanilla" gives "id-align", "dipe+id-align" is on M-RoPE's chunks as "dipe" is
/// and gives "id-align+mrope". A scheme without "dipe+" is itself.
std::string ids_alone(const std::string& scheme);

/// Every other row against that of `baseline` (where there is one), and each "dipe+X" against X; no two rows twice.
std::vector<FadingComparison> compare_fading(const FadingTable& table, const std::string& baseline);

/// "0", "64", "2K".
std::string length_text(int64_t tokens);
/// "ahead from 310 [200, 480] (8 of 9 seeds)"; "none (0 of 9 seeds)".
std::string crossing_text(const CrossingSummary& summary);

std::string fading_markdown(const FadingTable& table, const std::vector<FadingComparison>& comparisons);
/// One line for each scheme, measure and length.
std::string fading_csv(const FadingTable& table);
/// One line for each run, kind of grids and length.
std::string fading_runs_csv(const FadingTable& table);
/// One line for each comparison, measure and length.
std::string fading_differences_csv(const FadingTable& table,
                                   const std::vector<FadingComparison>& comparisons);
/// One line for each comparison and kind of grids.
std::string fading_crossings_csv(const FadingTable& table, const std::vector<FadingComparison>& comparisons);
/// /fading/{scheme, seeds, length, <measure> [schemes, lengths, 3: mean, low, high]}.
void write_fading(const std::filesystem::path& file, const FadingTable& table, const Provenance& provenance);
/// Answers and attention over the length of the text, a line and its 95 % band for each scheme; under DIPE dashed.
void draw_fading(const std::filesystem::path& file, const FadingTable& table);

}  // namespace ropescope::miniature
