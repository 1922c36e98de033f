// The memory of a training process, from names and sizes alone.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ropescope/models/tensor_slots.h"
#include "ropescope/train/sharding.h"

namespace ropescope {

/// How a process trains.
struct PlannedRun {
  ShardMode mode = ShardMode::kNone;
  int64_t world = 1;
  at::ScalarType compute = at::kFloat;
  bool on_cpu = true;
  bool recomputes = false;    ///< layers are computed again in the backward pass
  int64_t micro_batches = 1;  ///< of this process in a step
  int64_t tokens = 0;         ///< of a micro-batch, at most
  int64_t image_tokens = 0;   ///< of these, what comes from the connector
  int64_t tower_tokens = 0;   ///< what goes through the vision tower for them, before any are merged
  int64_t adapted = 0;        ///< numbers of matrices with an adapter, which a pass has once more (lora.h)
};

struct MemoryPlan {
  ShardMemory held;
  int64_t loading = 0;      ///< while weights are read and cut
  int64_t activations = 0;  ///< kept by the forward pass of a micro-batch
  int64_t step = 0;         ///< the most that is there at once in a step
  int64_t peak = 0;         ///< of the process: the larger of loading and step, and the program itself
};

/// Goes through a step in thought: the loss, then part by part (flat_unit.h) the layer that is computed
/// again, the gradients that autograd makes, the row that they are copied to and what the exchange needs,
/// beside the slices that are there by then. `trained`: names of what is trained.
MemoryPlan plan_memory(const std::vector<TensorSlot>& slots, const std::vector<std::string>& trained,
                       const PlannedRun& run);

}  // namespace ropescope
