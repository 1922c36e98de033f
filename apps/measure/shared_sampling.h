// A sampling whose texts are dealt to several processes.
#pragma once

#include <cstdint>

#include "ropescope/probe/sampler.h"
#include "ropescope/train/work_deal.h"

#include "inputs/work_parts.h"
#include "measure/sampling_state.h"

namespace ropescope::app {

/// What `sample` goes on from, and with whom.
struct SharedSampling {
  DealtWork& work;
  SamplingState& state;
  const WorkParts& parts;
  bool resume = false;

  /// Whether passes go through files: of several processes, and of what they left.
  bool in_parts() const { return !work.alone() || (resume && parts.any()); }
};

/// Takes all texts of a run. What a pass of texts gives is written into a part by the process that made it; the one that
/// leads adds the parts up in the order of the passes, so that sums are those of one process, bit for bit, and removes a
/// part once the state holds it. `tokens`: so many a process takes at a time, 1 where nothing is gained by more. Throws
/// InputError for parts of another run, EnvironmentError where a process does not see the others' parts.
void sample_in_parts(SampleRun& run, const SharedSampling& shared, int64_t tokens);

}  // namespace ropescope::app
