// Learning rates over a run, as a factor on a group's peak rate.
//   warm-up   s / W for s < W, so that the first update has rate 0; W = ceil(total * ratio)
//   cosine    f + (1 - f) (1 + cos(pi p)) / 2,   p = (s - W) / (total - W), f = floor / peak
//   linear    f + (1 - f) (1 - p)
//   constant  1
#pragma once

#include <cstdint>
#include <string>

namespace ropescope {

enum class ScheduleKind { kCosine, kLinear, kConstant };

/// "cosine", "linear", "constant". Throws UsageError.
ScheduleKind parse_schedule(const std::string& name);

struct Schedule {
  ScheduleKind kind = ScheduleKind::kCosine;
  int64_t total_steps = 1;
  int64_t warmup_steps = 0;

  /// Rate of the update `step` (from 0) of a group with this peak and floor.
  double rate(int64_t step, double peak, double floor = 0.0) const;
};

/// ceil(total * ratio). Throws UsageError for a ratio outside [0, 1].
int64_t warmup_steps(int64_t total_steps, double ratio);

}  // namespace ropescope
