#include <algorithm>

#include "ropescope/rope/schemes/registry.h"
#include "ropescope/rope/schemes/spatial_design.h"

namespace ropescope {

namespace {

// t = b + s tau, h = y, w = x; next = b + max(s(T-1) + 1, H, W).
class ResetDesign : public SpatialDesign {
 public:
  using SpatialDesign::SpatialDesign;

 protected:
  double place_block(const Grid& grid, double base, const CoordinateRows& rows) const override {
    for_each_cell(grid, [&](int64_t token, int64_t tau, int64_t y, int64_t x) {
      rows[0][token] = base + stride(grid) * static_cast<double>(tau);
      rows[1][token] = static_cast<double>(y);
      rows[2][token] = static_cast<double>(x);
    });
    return base + std::max({stride(grid) * static_cast<double>(grid.t - 1) + 1, static_cast<double>(grid.h),
                            static_cast<double>(grid.w)});
  }
};

std::shared_ptr<const PositionDesign> make_reset_design(const Parameters& parameters,
                                                        std::shared_ptr<const PositionDesign>) {
  return std::make_shared<ResetDesign>(parameters, 1.0);
}

}  // namespace

extern const SchemeDefinition kIlrope = {
    "ilrope",
    "rows and columns start at 0 in every picture; t, h, w channels interleaved",
    "IL-RoPE (Mogao), arXiv 2505.05472",
    spatial_parameters("1"),
    interleaved_allocation,
    make_reset_design,
    "",
    {}};

extern const SchemeDefinition kOmnirope = {
    "omnirope",
    "rows and columns start at 0 in every picture; t, h, w channels in chunks",
    "Omni-RoPE (OmniGen2), arXiv 2506.18871",
    spatial_parameters("1"),
    chunked_allocation,
    make_reset_design,
    "",
    {}};

}  // namespace ropescope
