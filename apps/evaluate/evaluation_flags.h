// Flags that score and evaluate share.
#pragma once

#include <optional>
#include <string>

#include "ropescope/eval/benchmark.h"

#include "flags.h"

namespace ropescope::app {

/// --benchmark (required), --profile, --policy, --ocr, --boxes, --subtitles.
struct ScoringFlags {
  std::string benchmark, policy = "exact", boxes = "auto";
  std::optional<std::string> profile;  // absent: the benchmark's first
  bool ocr = false, subtitles = false;

  void bind(Flags& flags);
  /// The benchmark as its profile has it. Throws UsageError.
  const eval::Benchmark& chosen() const;
  /// Throws UsageError where the benchmark has no such rules.
  eval::Rules rules() const;
};

}  // namespace ropescope::app
