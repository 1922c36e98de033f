// Spiral RoPE, arXiv 2602.03227 (vision transformers), on M-RoPE's ids: channels turn by the projection of a cell's place
// onto one of K directions. weighted_axes.h has the formula.
#include "ropescope/rope/schemes/mrope_design.h"
#include "ropescope/rope/schemes/registry.h"

namespace ropescope {

extern const SchemeDefinition kSpiral = {
    "spiral",
    "M-RoPE's ids; channel i turns by the projection of row and column onto direction i mod K of the plane, and by what of "
    "t leaves text as it is",
    "Spiral RoPE, arXiv 2602.03227 (of vision transformers)",
    {{"directions", "4", "K, directions k pi / K of the picture's plane"},
     {"text", "kept",
      "kept (text turns as in the language model: t has the weight 1 - cos - sin), projected (t has none, as in the "
      "paper, whose models see no text: text turns by cos + sin times its frequency)"},
     {"temporal_stride", "1", "ids between two frames of a video block"}},
    [](const Parameters&) { return std::string("spiral"); },
    [](const Parameters& parameters, std::shared_ptr<const PositionDesign>) {
      return make_mrope_design(parameters, 1.0);
    },
    "",
    {}};

}  // namespace ropescope
