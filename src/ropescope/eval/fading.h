// How a benchmark's figure, and the attention on its pictures, fall as text grows between picture and
// question.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ropescope/core/json.h"
#include "ropescope/eval/samples.h"

namespace ropescope::eval {

/// One scheme at one length. Intervals are 95 %; differences are paired over the benchmark's units.
struct FadingPoint {
  int64_t distractor_tokens = 0;
  int64_t items = 0, failed = 0, units = 0;
  double percent = 0;              ///< the benchmark's figure; NaN where the answers give none
  Interval interval;               ///< percent
  PairedDifference drop;           ///< this length minus length 0, percent points
  double relative = 1;             ///< figure / figure at length 0; NaN where that is 0
  PairedDifference against_first;  ///< here minus the first scheme's figure at this length
  /// Of the prompt's last token on visual tokens, mean over layers and heads, then over items; NaN without
  /// pictures. `uniform_share`: what uniform attention would give.
  double visual_share = 0, uniform_share = 0;
  Interval share_interval;  ///< bootstrap over items
};

struct FadingCurve {
  std::string scheme;  ///< empty: the model's own
  std::vector<FadingPoint> points;
};

/// One curve a scheme. `lengths` begin with 0. Throws InputError if answers are missing.
std::vector<FadingCurve> fading_curves(const std::map<Condition, Scores>& scores, const Benchmark& benchmark,
                                       const std::vector<std::string>& schemes,
                                       const std::vector<int64_t>& lengths, uint64_t seed);

/// "model's own" for none.
std::string scheme_label(const std::string& scheme);

/// [{"scheme", "points": [{"distractor_tokens", "items", "percent", "ci95", "drop", ...}]}]; null for NaN.
Json fading_json(const std::vector<FadingCurve>& curves);

}  // namespace ropescope::eval
