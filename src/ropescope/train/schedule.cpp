#include "ropescope/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "ropescope/core/errors.h"

namespace ropescope {

ScheduleKind parse_schedule(const std::string& name) {
  if (name == "cosine") return ScheduleKind::kCosine;
  if (name == "linear") return ScheduleKind::kLinear;
  if (name == "constant") return ScheduleKind::kConstant;
  throw UsageError("--schedule: expected cosine, linear or constant, found \"{}\"", name);
}

int64_t warmup_steps(int64_t total_steps, double ratio) {
  if (!(ratio >= 0.0 && ratio <= 1.0)) {
    throw UsageError("--warmup-ratio: expected a number from 0 to 1, found {}", ratio);
  }
  return static_cast<int64_t>(std::ceil(static_cast<double>(total_steps) * ratio));
}

double Schedule::rate(int64_t step, double peak, double floor) const {
  if (step < warmup_steps) return peak * (static_cast<double>(step) / static_cast<double>(warmup_steps));
  if (kind == ScheduleKind::kConstant) return peak;
  const double rest = static_cast<double>(std::max<int64_t>(1, total_steps - warmup_steps));
  const double progress = std::min(1.0, static_cast<double>(step - warmup_steps) / rest);
  const double share =
      kind == ScheduleKind::kCosine ? 0.5 * (1.0 + std::cos(std::numbers::pi * progress)) : 1.0 - progress;
  return floor + (peak - floor) * share;
}

}  // namespace ropescope
