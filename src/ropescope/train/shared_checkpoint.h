// Checkpoints of a model that several ranks hold together, in the same form as those of one process, so that
// any number of ranks can go on from them. Rank 0 writes; whole tensors are put together part by part, so
// that no rank ever holds more than one part beyond its own share.
#pragma once

#include <cstdint>

#include "ropescope/train/checkpoints.h"
#include "ropescope/train/trained_model.h"
#include "ropescope/train/trainer.h"

namespace ropescope {

/// `run` has step, state and, on rank 0, weights that the model does not use; `trainer` has a sharding. All
/// ranks call it; where rank 0 cannot write, all throw its EnvironmentError.
void save_together(Checkpoints& checkpoints, SavedRun run, TrainedModel& model, Trainer& trainer,
                   int64_t keep_last);

}  // namespace ropescope
