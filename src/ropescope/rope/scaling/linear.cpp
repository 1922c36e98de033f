// Position interpolation, arXiv 2306.15595: f / k.
#include "ropescope/rope/scaling/scaling.h"

namespace ropescope {

extern const ContextScaling kLinearScaling = {
    RopeType::kLinear, "linear", {"factor"}, [](const ScalingInput& input) {
      ScaledFrequencies result{input.plain()};
      for (double& f : result.values) f /= input.config.factor;
      return result;
    }};

}  // namespace ropescope
