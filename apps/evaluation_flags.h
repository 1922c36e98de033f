// Flags that score and evaluate share.
#pragma once

#include "ropescope/eval/benchmark.h"

#include "command.h"

namespace ropescope::app {

/// --benchmark, --profile, --policy, --ocr.
po::options_description scoring_options();
eval::Rules scoring_rules(const Arguments& arguments);

}  // namespace ropescope::app
