#include "ropescope/core/version.h"

#include <torch/version.h>

namespace ropescope {

std::string version() { return ROPESCOPE_VERSION; }
std::string commit() { return ROPESCOPE_COMMIT; }
std::string libtorch_version() { return TORCH_VERSION; }

}  // namespace ropescope
