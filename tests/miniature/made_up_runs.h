// Results of runs that no training made, as `ropescope-miniature train` writes them.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "ropescope/core/json.h"

namespace ropescope::miniature {

/// Of a point, seen and unseen grids: right and asked.
inline Json scores_of(const std::array<int64_t, 2>& correspondence, const std::array<int64_t, 2>& answers) {
  return {{"correspondence", {{"right", correspondence[0]}, {"asked", correspondence[1]}}},
          {"answers", {{"right", answers[0]}, {"asked", answers[1]}}}};
}

/// `points`: steps and scores.
inline Json made_up_run(const std::string& scheme, int64_t seed,
                        const std::vector<std::pair<int64_t, Json>>& points, double theta = 1e4) {
  Json curve = Json::array();
  for (const auto& [step, scores] : points) {
    curve.push_back({{"step", step}, {"loss", 1.0}, {"seen", scores}, {"unseen", scores}});
  }
  return {{"format", "ropescope-miniature"},
          {"theta", theta},
          {"settings", {{"scheme", scheme}, {"seed", seed}, {"correspondence", 1.0}, {"steps", 100}}},
          {"curve", curve}};
}

/// So many of 100 answers at the steps 0, 25, 50 ..., half of the correspondence at each.
inline Json answered_run(const std::string& scheme, int64_t seed, const std::vector<int64_t>& answers,
                         double theta = 1e4) {
  std::vector<std::pair<int64_t, Json>> points;
  for (const int64_t right : answers) {
    points.emplace_back(25 * static_cast<int64_t>(points.size()), scores_of({50, 100}, {right, 100}));
  }
  return made_up_run(scheme, seed, points, theta);
}

}  // namespace ropescope::miniature
