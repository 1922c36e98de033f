// Whether ID-Align and another encoding add up: the gain of ID-Align on that encoding minus its gain on plain positions.
#pragma once

#include <string>
#include <vector>

#include "comparisons.h"

namespace ropescope::miniature {

/// (aligned X − X) − (id-align − vanilla), seed by seed over the seeds that all four have of a measure; 0: additive. Shares end at 1, so where ID-Align
/// alone is there already, a smaller gain on an encoding that begins higher is no more than that end.
struct Interaction {
  size_t comparison = 0;                ///< aligned X − X, among the comparisons
  std::vector<Difference> differences;  ///< [kMeasures]; Holm over all interactions of a measure
};

/// Of every scheme with ID-Align on something other than plain positions, beside `id-align` and `vanilla` that differ in nothing else
/// (θ, targets, steps, compression). None without these two.
std::vector<Interaction> interactions(const std::vector<Row>& rows,
                                      const std::vector<Comparison>& comparisons);

/// A row for each; "" for none.
std::string interaction_table(const std::vector<Row>& rows, const std::vector<Comparison>& comparisons,
                              const std::vector<Interaction>& interactions);
/// One line for each interaction and measure.
std::string interaction_csv(const std::vector<Row>& rows, const std::vector<Comparison>& comparisons,
                            const std::vector<Interaction>& interactions);

}  // namespace ropescope::miniature
