// No scaling: f.
#include "ropescope/rope/scaling/scaling.h"

namespace ropescope {

extern const ContextScaling kPlainScaling = {
    RopeType::kDefault, "default", {}, [](const ScalingInput& input) {
      return ScaledFrequencies{input.plain()};
    }};

}  // namespace ropescope
