// Mixed axes on M-RoPE's ids: every channel has weights of its own over t, h, w, as RoPE-Mixed learns them (arXiv
// 2403.13298, vision transformers; `mixed` of arXiv 2510.23095's public code). weighted_axes.h has the formula.
#include "ropescope/rope/schemes/mrope_design.h"
#include "ropescope/rope/schemes/registry.h"

namespace ropescope {

extern const SchemeDefinition kMixed = {
    "mixed",
    "M-RoPE's ids; every channel turns by a weighted sum of t, h, w, from a file or drawn as RoPE-Mixed starts",
    "RoPE-Mixed, arXiv 2403.13298; public code of 2510.23095",
    {{"weights", "", "JSON file: [t,h,w] of every channel, normalised to length 1; in place of seed"},
     {"seed", "0", "seed of the angle that each key/value head's two directions begin with"},
     {"temporal_stride", "1", "ids between two frames of a video block"}},
    [](const Parameters&) { return std::string("mixed"); },
    [](const Parameters& parameters, std::shared_ptr<const PositionDesign>) {
      return make_mrope_design(parameters, 1.0);
    },
    "",
    {}};

}  // namespace ropescope
