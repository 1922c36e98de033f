#include "ropescope/models/vlm_memory.h"

#include "ropescope/models/connector.h"
#include "ropescope/models/llava.h"
#include "ropescope/weights/size_count.h"

namespace ropescope {

EyesMemory estimate_eyes_memory(const VlmConfig& config, const std::string& what) {
  const SizeCount count(what);
  const VisionMemory tower = estimate_vision_memory(config.vision, what);
  EyesMemory memory;
  memory.tower = tower.parameters;
  Connector connector;
  connector.config = config.connector;
  connector.deepstack.resize(static_cast<size_t>(config.connector.deepstack));
  for (const TensorSlot& slot : connector_slots(connector)) {
    int64_t numbers = 1;
    for (const int64_t size : slot.shape) numbers = count.product({numbers, size});
    memory.connector = count.sum({memory.connector, numbers});
  }
  if (config.has_newline) memory.connector = count.sum({memory.connector, config.connector.out});
  memory.activations = count.product({config.vision.packed ? 1 : kTilesAtOnce, tower.activations_per_image});
  return memory;
}

}  // namespace ropescope
