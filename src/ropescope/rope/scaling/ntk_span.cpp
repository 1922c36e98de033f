// NTK over the spans between ids rather than their counts (VideoRoPE++, arXiv 2502.05173): M ids span M - 1 steps, so the
// base is theta ((kM-1)/(M-1))^(d/(d-2)).
#include "ropescope/core/errors.h"
#include "ropescope/rope/scaling/scaling.h"

namespace ropescope {

extern const ContextScaling kNtkSpanScaling = {
    RopeType::kNtkSpan,
    "ntk-span",
    {"factor", "original_max_position_embeddings"},
    [](const ScalingInput& input) {
      const double length = input.trained_length(), longer = input.config.factor * length;
      if (length <= 1 || longer <= 1) {
        throw InputError(
            "rope scaling \"ntk-span\": expected original_max_position_embeddings and factor times it above 1, "
            "found {} and {}",
            length, longer);
      }
      return ScaledFrequencies{input.plain(input.widened_base((longer - 1) / (length - 1)))};
    }};

}  // namespace ropescope
