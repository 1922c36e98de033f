#include <algorithm>

#include "ropescope/rope/schemes/mrope_design.h"
#include "ropescope/rope/schemes/registry.h"

namespace ropescope {

namespace {

class MropeDesign : public SpatialDesign {
 public:
  MropeDesign(const Parameters& parameters, double temporal_stride)
      : SpatialDesign(parameters, temporal_stride), reset_(parameters.boolean("spatial_reset", false)) {}

 protected:
  double place_block(const Grid& grid, double base, const CoordinateRows& rows) const override {
    const double origin = reset_ ? 0.0 : base;
    for_each_cell(grid, [&](int64_t token, int64_t tau, int64_t y, int64_t x) {
      rows[0][token] = base + stride() * static_cast<double>(tau);
      rows[1][token] = origin + static_cast<double>(y);
      rows[2][token] = origin + static_cast<double>(x);
    });
    return base +
           std::max({stride() * static_cast<double>(grid.t - 1), static_cast<double>(grid.h - 1),
                     static_cast<double>(grid.w - 1)}) +
           1;
  }

 private:
  bool reset_;
};

}  // namespace

std::shared_ptr<const PositionDesign> make_mrope_design(const Parameters& parameters,
                                                        double temporal_stride) {
  return std::make_shared<MropeDesign>(parameters, temporal_stride);
}

extern const SchemeDefinition kMrope = {
    "mrope",
    "frame, row and column each have their own ids, in three consecutive groups of channels",
    "Qwen2-VL, arXiv 2409.12191",
    spatial_parameters("2", {{"spatial_reset", "false", "rows and columns start at 0 in every block"}}),
    chunked_allocation,
    [](const Parameters& parameters, std::shared_ptr<const PositionDesign>) {
      return make_mrope_design(parameters, 2.0);
    },
    "",
    {}};

}  // namespace ropescope
