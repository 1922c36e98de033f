// Where the difference of two curves over lengths of text changes its sign.
//   x(L) = ln(1 + L)                 the axis that is interpolated on, which has a place for no text at all
//   d(L) = a(L) - b(L)               of one seed; |d| below a tie counts as none
//   x*   = x_i + (x_j - x_i) d_i / (d_i - d_j)
// with i the last length at which the sign that came first holds and j the first with the other one; lengths between them are ties.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ropescope/analysis/statistics.h"

namespace ropescope::miniature {

struct Crossing {
  double length = 0;    ///< tokens
  bool falls = false;   ///< a is ahead before, b behind it
  int64_t changes = 1;  ///< of sign over all lengths: where there are several, this is the first
};

/// Nothing where the sign does not change. `lengths` ascend; `tie` >= 0.
std::optional<Crossing> crossing_of(const std::vector<int64_t>& lengths,
                                    const std::vector<double>& differences, double tie);

/// Crossings of several seeds, those in one direction.
struct CrossingSummary {
  int64_t seeds = 0;                ///< asked
  int64_t falling = 0, rising = 0;  ///< of them with a crossing of this direction
  int64_t several = 0;              ///< of these with more than one change
  bool falls = false;   ///< the direction that more seeds have, which `length` is of; falling where as many
  MeanInterval length;  ///< e^mean(x*) - 1 with its 95 % interval (Student t over these seeds, on x); tokens
};
CrossingSummary summarise(const std::vector<std::optional<Crossing>>& of_seeds);

}  // namespace ropescope::miniature
