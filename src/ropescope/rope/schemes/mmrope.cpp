#include <algorithm>

#include "ropescope/rope/schemes/registry.h"
#include "ropescope/rope/schemes/spatial_design.h"

namespace ropescope {

namespace {

// t = b + s a_t tau, h = b + a_h y, w = b + a_w x; next = greatest id of the block + 1.
class ScaledDesign : public SpatialDesign {
 public:
  explicit ScaledDesign(const Parameters& parameters)
      : SpatialDesign(parameters, 1.0),
        scale_(parameters.numbers("position_scale", 3).value_or(std::vector<double>{1, 1, 1})) {
    for (const double scale : scale_) {
      if (scale <= 0) parameters.refuse("position_scale", "3 numbers above 0, separated by /");
    }
  }

 protected:
  double place_block(const Grid& grid, double base, const CoordinateRows& rows) const override {
    for_each_cell(grid, [&](int64_t token, int64_t tau, int64_t y, int64_t x) {
      rows[0][token] = base + stride(grid) * scale_[0] * static_cast<double>(tau);
      rows[1][token] = base + scale_[1] * static_cast<double>(y);
      rows[2][token] = base + scale_[2] * static_cast<double>(x);
    });
    return base +
           std::max({stride(grid) * scale_[0] * static_cast<double>(grid.t - 1),
                     scale_[1] * static_cast<double>(grid.h - 1),
                     scale_[2] * static_cast<double>(grid.w - 1)}) +
           1;
  }

 private:
  std::vector<double> scale_;
};

}  // namespace

extern const SchemeDefinition kMmrope = {
    "mmrope",
    "ids scaled by axis; channels in the pattern t,t,h,w,h,w,h,w over the whole spectrum",
    "MM-RoPE (Lumos-1), arXiv 2507.08801",
    spatial_parameters("1", {{"position_scale", "1/1/1", "factors t/h/w of the ids (Lumos-1 uses 4/8/8)"}}),
    [](const Parameters&) { return std::string("mmrope"); },
    [](const Parameters& parameters, std::shared_ptr<const PositionDesign>)
        -> std::shared_ptr<const PositionDesign> { return std::make_shared<ScaledDesign>(parameters); },
    "",
    {}};

}  // namespace ropescope
