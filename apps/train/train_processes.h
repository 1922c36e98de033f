// The processes of one training run.
#pragma once

#include <memory>

#include "ropescope/train/launch.h"
#include "ropescope/train/process_group.h"
#include "ropescope/train/sharding.h"
#include "ropescope/train/trainer.h"

#include "command.h"
#include "inputs/processes.h"
#include "train/train_subject.h"

namespace ropescope::app::train {

/// Meets the other processes; null if this one is alone.
std::unique_ptr<ProcessGroup> join_processes(const Launch& launch, const ProcessFlags& flags,
                                             at::Device device);

/// Throws EnvironmentError if the ranks would go on from different checkpoints.
void check_same_step(const ProcessGroup& group, int64_t step);

/// --memory-report: what every rank holds, beside what follows from names and sizes. All ranks call it.
Json report_memory(TrainSubject& subject, Trainer& trainer, const TrainFlags& flags,
                   const CommonSettings& common);
/// The prediction alone, for --ranks processes.
Json planned_memory(TrainSubject& subject, const TrainFlags& flags, const CommonSettings& common,
                    const Launch& launch);
std::string memory_table(const Json& report);

}  // namespace ropescope::app::train
