// ID-Align's inheritance of thumbnail ids, used by id-align and by rope-dhr, which differ in the cell that a
// high-resolution token inherits from.
#pragma once

#include <memory>

#include "ropescope/rope/parameters.h"
#include "ropescope/rope/position_design.h"

namespace ropescope {

/// `newline` (inherit) is read from the parameters. Throws UsageError if `inner` inherits ids already.
std::shared_ptr<const PositionDesign> make_id_align_design(const Parameters& parameters,
                                                           std::shared_ptr<const PositionDesign> inner,
                                                           const Alignment& alignment);

}  // namespace ropescope
