// From which length of text on one curve is ahead of another, or behind it, that was not so at the first length.
//   x(L) = ln(1 + L)                                      the axis that is interpolated on, which has a place for no text at all
//   d(L) = a(L) - b(L)                                    of one seed; |d| <= tie: neither is ahead
//   x*   = x_i + (x_j - x_i) d_i / (d_i - d_j)            where the order turns: i the last length with the first sign, j the first with
//                                                         the other one; lengths between them are ties
//   x*   = x_i + (x_j - x_i) (tie - |d_i|) / (|d_j| - |d_i|)   where it begins with ties: i the last of them
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ropescope/analysis/statistics.h"

namespace ropescope::miniature {

struct Crossing {
  double length = 0;      ///< tokens
  bool falls = false;     ///< a is behind from there on, else ahead
  int64_t changes = 1;    ///< of the order over all lengths: where there are several, this is the first
  bool from_tie = false;  ///< neither was ahead before
};

/// Nothing where the order does not change. `lengths` ascend; `tie` >= 0.
std::optional<Crossing> crossing_of(const std::vector<int64_t>& lengths,
                                    const std::vector<double>& differences, double tie);

/// Crossings of several seeds, those in one direction.
struct CrossingSummary {
  int64_t seeds = 0;                ///< asked
  int64_t falling = 0, rising = 0;  ///< of them with a crossing of this direction
  int64_t several = 0;              ///< of these with more than one change
  int64_t from_tie = 0;             ///< of those that `length` is of: neither was ahead before
  bool falls = false;   ///< the direction that more seeds have, which `length` is of; falling where as many
  MeanInterval length;  ///< e^mean(x*) - 1 with its 95 % interval (Student t over these seeds, on x); tokens
};
CrossingSummary summarise(const std::vector<std::optional<Crossing>>& of_seeds);

}  // namespace ropescope::miniature
