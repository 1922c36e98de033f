// `trace --tensors`: rotation and attention of given vectors, without a model.
#pragma once

#include "ropescope/rope/frequencies.h"

#include "command.h"

namespace ropescope::app {

int run_trace_tensors(const Arguments& arguments, const CommonSettings& settings);

/// Settings of --rope-theta and --rope-scaling on top of `base`: theta replaces the base's, a scaling
/// replaces the base's scaling (trained length and partial rotation stay unless it names them). Throws
/// UsageError.
RopeConfig rope_override(const Arguments& arguments, RopeConfig base);

}  // namespace ropescope::app
