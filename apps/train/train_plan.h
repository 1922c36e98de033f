// What a training run will do, before it does it.
#pragma once

#include <vector>

#include "ropescope/core/json.h"
#include "ropescope/train/sampler.h"
#include "ropescope/train/trainer.h"

#include "train/train_subject.h"

namespace ropescope::app::train {

int64_t count_numbers(const std::vector<Parameter>& parameters);

/// Rows, steps, trained parameters, operations and (with --tflops) time, and `memory` as planned_memory gives
/// it. Operations: two a weight and token forward; two more backward for the activations, two for each
/// trained weight's gradient, and two where layers are computed again. Attention itself and embeddings are
/// not counted; images count as if they filled their largest grid, so that the whole is at most what is
/// printed.
void print_plan(TrainSubject& subject, const Sampler& sampler, const Trainer& trainer,
                const TrainFlags& flags, const Json& memory, bool json);

}  // namespace ropescope::app::train
