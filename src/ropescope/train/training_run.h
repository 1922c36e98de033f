// A run: steps, checkpoints, curves, progress lines, and an end that loses nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "ropescope/core/json.h"
#include "ropescope/train/checkpoints.h"
#include "ropescope/train/curves.h"
#include "ropescope/train/sampler.h"
#include "ropescope/train/trained_model.h"
#include "ropescope/train/trainer.h"

namespace ropescope {

struct TrainingRunSettings {
  int64_t total_steps = 0;
  int64_t save_every = 0;  ///< steps; 0: only at the end
  int64_t keep_last = 0;   ///< checkpoints; 0: all
  int64_t log_every = 10;
  Json config;                                               ///< settings that change the run's numbers
  std::function<bool()> interrupt;                           ///< asked after every step; true: save and stop
  std::function<void(const Curves::Point&)> step_made = {};  ///< told of every step, if it is set
  std::function<void()> saving = {};  ///< called before a checkpoint is written, if it is set
};

struct TrainingRunResult {
  bool interrupted = false;
  std::vector<StepReport> reports;  ///< of the steps made here
};

class TrainingRun {
 public:
  /// Everything must live as long as the run.
  TrainingRun(TrainedModel& model, Sampler& sampler, Trainer& trainer, Checkpoints& checkpoints,
              Curves& curves, TrainingRunSettings settings);

  /// Puts weights, optimizer and step of a checkpoint in place. Throws InputError where they do not fit, and,
  /// unless `allow_change`, where configuration or data are others than they were.
  void resume(const SavedRun& saved, bool allow_change);
  /// What a checkpoint says the run is made of: `config`, `data` (fingerprint), `sampler`.
  Json state() const;
  /// Up to total_steps. Where a step fails (NumericsError, no room), the state before it is saved if it can
  /// be.
  TrainingRunResult run();

 private:
  Sharding* sharding() const { return trainer_.sharding(); }
  bool leads() const;  // one process, or the rank that writes
  std::vector<std::vector<int64_t>> own_micro_batches(int64_t step);
  bool asked_to_stop() const;
  StepReport make_step();
  void prefetch(int64_t step);
  void save();
  void log(const StepReport& report, double tokens_per_second, double seconds_per_step) const;

  TrainedModel& model_;
  Sampler& sampler_;
  Trainer& trainer_;
  Checkpoints& checkpoints_;
  Curves& curves_;
  TrainingRunSettings settings_;
  std::string data_;
  int64_t saved_step_ = -1;
};

}  // namespace ropescope
