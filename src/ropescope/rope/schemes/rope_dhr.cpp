// RoPE-DHR of CoMemo, arXiv 2506.06279: a tile token takes the id of the thumbnail cell that its place falls into, the
// tile's points being spread evenly over its share of the thumbnail (ResizeRule::kDhr).
#include "ropescope/rope/schemes/id_align_design.h"
#include "ropescope/rope/schemes/registry.h"

namespace ropescope {

extern const SchemeDefinition kRopeDhr = {
    "rope-dhr",
    "tile tokens take the ids of the thumbnail cell that their place falls into, as CoMemo rounds it; text goes on "
    "after the thumbnail",
    "CoMemo, arXiv 2506.06279",
    {{"tile_order", "row",
      "how tiles are numbered: row by row, as they are cut, or column by column, as the "
      "released code numbers them"}},
    nullptr,
    [](const Parameters& parameters,
       std::shared_ptr<const PositionDesign> inner) -> std::shared_ptr<const PositionDesign> {
      const bool by_row = parameters.choice("tile_order", {"row", "column"}) == "row";
      return make_id_align_design(parameters, std::move(inner),
                                  by_row ? ResizeRule::kDhr : ResizeRule::kDhrByColumn);
    },
    "vanilla",
    {}};

}  // namespace ropescope
