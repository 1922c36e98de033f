// "NTK-aware" (bloc97): base theta k^(d/(d-2)).
#include "ropescope/rope/scaling/scaling.h"

namespace ropescope {

extern const ContextScaling kNtkScaling = {
    RopeType::kNtk, "ntk", {"factor"}, [](const ScalingInput& input) {
      return ScaledFrequencies{input.plain(input.widened_base(input.config.factor))};
    }};

}  // namespace ropescope
