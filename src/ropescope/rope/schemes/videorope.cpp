#include <random>

#include "ropescope/core/errors.h"
#include "ropescope/core/random.h"
#include "ropescope/rope/schemes/registry.h"
#include "ropescope/rope/schemes/spatial_design.h"

namespace ropescope {

namespace {

// Rows and columns are centred on the block's t id, so that the diagonal t = h = w of text runs through it.
class VideoRopeDesign : public SpatialDesign {
 public:
  using SpatialDesign::SpatialDesign;

 protected:
  double place_block(const Grid& grid, double base, const CoordinateRows& rows) const override {
    for_each_cell(grid, [&](int64_t token, int64_t tau, int64_t, int64_t) {
      rows[0][token] = base + stride(grid) * static_cast<double>(tau);
    });
    centre_on_diagonal(grid, rows);
    return base + stride(grid) * static_cast<double>(grid.t - 1) + 1;
  }
};

std::shared_ptr<const PositionDesign> make_videorope(const Parameters& parameters,
                                                     std::shared_ptr<const PositionDesign>) {
  return std::make_shared<VideoRopeDesign>(parameters, 2.0);
}

// HoPE draws the stride of a video from a list when training; a list given here is drawn from once.
std::shared_ptr<const PositionDesign> make_hope(const Parameters& parameters,
                                                std::shared_ptr<const PositionDesign>) {
  std::map<std::string, std::string> values = parameters.values();
  if (const auto strides = parameters.numbers("temporal_stride", 0); strides && strides->size() > 1) {
    auto rng = make_rng(static_cast<uint64_t>(parameters.integer("stride_seed", 0, 0)), {});
    values["temporal_stride"] = fmt::format("{}", (*strides)[static_cast<size_t>(rng() % strides->size())]);
  }
  return std::make_shared<VideoRopeDesign>(Parameters(parameters.scheme(), values), 1.0);
}

}  // namespace

extern const SchemeDefinition kVideorope = {
    "videorope",
    "frames step by 2; rows and columns are centred on the frame's id; t has the low frequencies",
    "VideoRoPE, arXiv 2502.05173",
    spatial_parameters("2"),
    [](const Parameters&) { return std::string("videorope"); },
    make_videorope,
    "",
    {}};

extern const SchemeDefinition kHope = {
    "hope",
    "as videorope, but the channels of t do not rotate and the stride varies",
    "HoPE, arXiv 2505.20444",
    spatial_parameters("1", {{"stride_seed", "0", "seed of the draw where temporal_stride is a list"}}),
    [](const Parameters&) { return std::string("hope"); },
    make_hope,
    "",
    {}};

}  // namespace ropescope
