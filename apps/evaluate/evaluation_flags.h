// Flags that score and evaluate share.
#pragma once

#include <string>

#include "ropescope/eval/benchmark.h"

#include "flags.h"

namespace ropescope::app {

/// --benchmark (required), --profile, --policy, --ocr.
struct ScoringFlags {
  std::string benchmark, profile = "paper", policy = "exact";
  bool ocr = false;

  void bind(Flags& flags);
  eval::Rules rules() const;
};

}  // namespace ropescope::app
