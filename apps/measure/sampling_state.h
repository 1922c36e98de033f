// What an interrupted `sample` has taken so far, in a file beside its output.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "ropescope/core/json.h"
#include "ropescope/io/result_file.h"
#include "ropescope/probe/sampler.h"

namespace ropescope::app {

class SamplingState {
 public:
  /// `output`: the result file; the state is `output`.state. `inputs`: everything that the numbers depend on.
  /// `seconds`: at least so much time lies between two writings.
  SamplingState(const std::filesystem::path& output, Provenance provenance, Json inputs, double seconds);

  /// All that the numbers depend on.
  const Json& inputs() const { return inputs_; }
  /// Gives `run` back what the file has and returns the passes that are done, from the first on; 0 where there is no file.
  /// Throws InputError naming the first input that is another now, and for a damaged file.
  size_t restore(const SampleRun& run) const;
  /// Says what a run that goes on has: the passes that are done, here or in parts.
  void say(size_t done, size_t passes) const;
  /// Says where there is a state that is not asked for.
  void mention() const;
  /// With the first `passes` done. Returns whether it was written: not where the last writing is recent or all is done. A
  /// file that cannot be written is warned of once.
  bool save(const SampleRun& run, size_t passes);
  void remove() const;

 private:
  std::filesystem::path path_;
  Provenance provenance_;
  Json inputs_;
  double seconds_, last_save_;
  bool warned_ = false;
};

}  // namespace ropescope::app
