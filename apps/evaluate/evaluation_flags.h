// Flags that score and evaluate share.
#pragma once

#include <optional>
#include <string>

#include "ropescope/eval/benchmark.h"

#include "flags.h"

namespace ropescope::app {

/// --benchmark (required), --profile, --policy, --ocr.
struct ScoringFlags {
  std::string benchmark, policy = "exact";
  std::optional<std::string> profile;  // absent: the benchmark's first
  bool ocr = false;

  void bind(Flags& flags);
  /// The benchmark as its profile has it. Throws UsageError.
  const eval::Benchmark& chosen() const;
  eval::Rules rules() const;
};

}  // namespace ropescope::app
