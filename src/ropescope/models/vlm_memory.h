// How much memory the seeing part of a model takes, from its settings alone.
#pragma once

#include <cstdint>
#include <string>

#include "ropescope/architectures/vlm_config.h"

namespace ropescope {

/// Numbers (not bytes) of tower, connector and newline.
struct EyesMemory {
  int64_t tower = 0, connector = 0;  ///< parameters; the newline counts to the connector
  /// Alive at once while pictures go through the tower: eight tiles of it, or kPatchesAtOnce patches; a larger picture
  /// of patches takes more.
  int64_t activations = 0;

  int64_t parameters() const { return tower + connector; }
};

/// Throws InputError if a count does not fit in 63 bits.
EyesMemory estimate_eyes_memory(const VlmConfig& config, const std::string& what);

}  // namespace ropescope
