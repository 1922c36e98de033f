// Flags that score and evaluate share.
#pragma once

#include <string>

#include "ropescope/eval/benchmark.h"

#include "flags.h"

namespace ropescope::app {

/// --benchmark (required), --profile, --policy, --ocr, --boxes, --subtitles.
struct ScoringFlags {
  std::string benchmark, profile = "paper", policy = "exact", boxes = "auto";
  bool ocr = false, subtitles = false;

  void bind(Flags& flags);
  /// Throws UsageError where the benchmark has no such rules.
  eval::Rules rules() const;
};

}  // namespace ropescope::app
