// `trace --tensors`: rotation and attention of given vectors, without a model.
#pragma once

#include "command.h"
#include "trace/trace_flags.h"

namespace ropescope::app::trace {

int run_trace_tensors(const TraceFlags& flags, const Invocation& invocation);

}  // namespace ropescope::app::trace
