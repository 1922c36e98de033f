// --log and --log-maps: what a training run tells viewers of runs.
#pragma once

#include <memory>

#include "ropescope/train/launch.h"
#include "ropescope/train/run_log.h"

#include "command.h"
#include "train/train_maps.h"

namespace ropescope::app::train {

/// Throws UsageError for flags that do not go together, before anything is read.
void check_log_flags(const TrainFlags& flags, const Launch& launch);

/// What a run writes beside its curves. Only the rank that leads has one.
class TrainLog {
 public:
  /// `state`: what the run is made of (TrainingRun::state); `step`: steps that the run has made, -1 if it begins.
  TrainLog(const TrainFlags& flags, const TrainSettings& settings, TrainSubject& subject,
           const Provenance& provenance, const Json& state, int64_t step);

  void add(const Curves::Point& point);
  void sync() const;

 private:
  void draw(int64_t step);

  std::filesystem::path folder_;
  int64_t maps_every_ = 0;
  std::unique_ptr<RunLog> log_;
  std::unique_ptr<SampleMaps> maps_;
};

}  // namespace ropescope::app::train
