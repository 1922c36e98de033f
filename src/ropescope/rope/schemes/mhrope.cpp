#include "ropescope/rope/schemes/mrope_design.h"
#include "ropescope/rope/schemes/registry.h"

namespace ropescope {

extern const SchemeDefinition kMhrope = {
    "mhrope",
    "M-RoPE's ids with whole key/value heads following t, h or w",
    "Revisiting Multimodal Positional Encoding, arXiv 2510.23095",
    spatial_parameters("1", {{"spatial_reset", "false", "rows and columns start at 0 in every block"}}),
    [](const Parameters&) { return std::string("heads"); },
    [](const Parameters& parameters, std::shared_ptr<const PositionDesign>) {
      return make_mrope_design(parameters, 1.0);
    },
    "",
    {}};

}  // namespace ropescope
