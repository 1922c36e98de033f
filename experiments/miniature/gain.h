// ID-Align's gain over theta: an encoding with it minus the same without, seed by seed, at every base that both were trained under.
//   gain ends at   the lowest and the highest theta whose gain is above 0 and resolved (comparisons.h: Holm over the whole table)
//   slope, bend    of each seed's gains g_j at x_j = log10 theta_j: b and c of g = a + b (x - mean x) + c q(x), q = x^2 without its mean
//                  and its straight part; their means over the seeds have Student t intervals. A bend below 0: a greatest gain in between
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/analysis/statistics.h"
#include "ropescope/io/result_file.h"

#include "comparisons.h"
#include "table.h"

namespace ropescope::miniature {

struct GainPoint {
  double theta = 0;
  std::vector<Difference> gains;  ///< [kMeasures]
};

struct GainCurve {
  std::string with, without;      ///< schemes
  std::string scaling;            ///< of the rotation; "" none
  std::string compress;           ///< of both, as compression_text says it; "" none
  double correspondence = 0;      ///< weight of the cells as targets
  int64_t steps = 0;              ///< planned
  int64_t longest = 0;            ///< tokens of the longest sequence
  std::vector<GainPoint> points;  ///< by theta, ascending
  std::string name() const;       ///< "id-align − vanilla, yarn:4"
};

/// Curves of all pairs that were trained under several bases, each scaling of such a pair beside them; {} where none was.
std::vector<GainCurve> gain_curves(const std::vector<Row>& rows, const std::vector<Comparison>& comparisons);

struct GainEnds {
  std::optional<double> lowest, highest;  ///< none: no gain is resolved
  std::vector<double> open;               ///< thetas between them whose gain is not resolved
};
GainEnds gain_ends(const GainCurve& curve, size_t measure);

struct GainTrend {
  MeanInterval slope;              ///< a decade of theta
  MeanInterval bend;               ///< a decade squared; NaN for fewer than three thetas
  double slope_p = 1, bend_p = 1;  ///< exact sign flips, not corrected
};
/// Over the seeds that all points have of the measure; NaN for fewer than two thetas.
GainTrend gain_trend(const GainCurve& curve, size_t measure);

/// Where each gain ends, where it is greatest, and how it goes with theta, of curves of several thetas.
std::string gain_table(const std::vector<GainCurve>& curves);
/// One line for each curve, theta and measure.
std::string gain_csv(const std::vector<GainCurve>& curves);
/// /gain/<curve>/{theta, seeds, resolved [points, measures], <measure> [points, 3: mean, low, high]}.
void write_gain(ResultWriter& writer, const std::vector<GainCurve>& curves);
/// The measures' gains over theta with their intervals; scalings beside their theta. Of a measure that was asked of no curve, no panel.
void draw_gain(const std::filesystem::path& file, const std::vector<GainCurve>& curves);

}  // namespace ropescope::miniature
