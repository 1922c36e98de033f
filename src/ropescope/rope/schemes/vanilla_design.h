// One id after the other, in token order.
#pragma once

#include "ropescope/rope/schemes/spatial_design.h"

namespace ropescope {

class VanillaDesign : public PositionDesign {
 public:
  int64_t axes() const override { return 1; }
  double place(const Grid& grid, double base, const CoordinateRows& rows) const override;
};

}  // namespace ropescope
