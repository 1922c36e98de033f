#include <algorithm>
#include <cmath>

#include "ropescope/rope/schemes/mrope_design.h"
#include "ropescope/rope/schemes/registry.h"

namespace ropescope {

namespace {

class MropeDesign : public SpatialDesign {
 public:
  MropeDesign(const Parameters& parameters, double temporal_stride)
      : SpatialDesign(parameters, temporal_stride),
        reset_(parameters.boolean("spatial_reset", false)),
        extent_(parameters.choice("after", {"largest", "extent"}) == "extent") {}

 protected:
  double place_block(const Grid& grid, double base, const CoordinateRows& rows) const override {
    const double origin = reset_ ? 0.0 : base;
    for_each_cell(grid, [&](int64_t token, int64_t tau, int64_t y, int64_t x) {
      rows[0][token] = base + steps(grid, tau);
      rows[1][token] = origin + static_cast<double>(y);
      rows[2][token] = origin + static_cast<double>(x);
    });
    const double last_frame = extent_ ? 0.0 : steps(grid, grid.t - 1);
    return base + std::max({last_frame, static_cast<double>(grid.h - 1), static_cast<double>(grid.w - 1)}) +
           1;
  }

 private:
  /// Whole ids from the first frame to frame tau. The public code multiplies in float32, which decides where a
  /// product lies next to a whole number.
  double steps(const Grid& grid, int64_t tau) const {
    return std::trunc(static_cast<float>(stride(grid)) * static_cast<float>(tau));
  }

  bool reset_, extent_;
};

}  // namespace

std::shared_ptr<const PositionDesign> make_mrope_design(const Parameters& parameters,
                                                        double temporal_stride) {
  return std::make_shared<MropeDesign>(parameters, temporal_stride);
}

namespace {

// The schemes differ in the stride of frames and in who follows which axis.
SchemeDefinition mrope_family(const char* name, const char* summary, const char* source, const char* stride,
                              std::string (*allocation)(const Parameters&),
                              decltype(SchemeDefinition::make) make) {
  return {name,
          summary,
          source,
          spatial_parameters(
              stride, {{"spatial_reset", "false", "rows and columns start at 0 in every block"},
                       {"after", "largest",
                        "where text goes on after a block: largest (its largest id + 1), extent (its first "
                        "id + max(H, W), as transformers 5 does, so that a clip's later frames lie on and "
                        "past the text)"}}),
          allocation,
          make,
          "",
          {}};
}

std::shared_ptr<const PositionDesign> make_stride_1(const Parameters& parameters,
                                                    std::shared_ptr<const PositionDesign>) {
  return make_mrope_design(parameters, 1.0);
}

}  // namespace

extern const SchemeDefinition kMrope = mrope_family(
    "mrope",
    "frame, row and column each have their own ids, in three consecutive groups of channels; published: "
    "temporal_stride=1 (Qwen2-VL), seconds between frames times tokens a second (Qwen2.5-VL)",
    "Qwen2-VL, arXiv 2409.12191", "2", chunked_allocation,
    [](const Parameters& parameters, std::shared_ptr<const PositionDesign>) {
      return make_mrope_design(parameters, 2.0);
    });

extern const SchemeDefinition kMropeInterleave =
    mrope_family("mrope-interleave",
                 "M-RoPE's ids with t, h, w channels interleaved over the whole spectrum; published: "
                 "spatial_reset=true",
                 "Revisiting Multimodal Positional Encoding, arXiv 2510.23095", "1", interleaved_allocation,
                 make_stride_1);

extern const SchemeDefinition kMhrope = mrope_family(
    "mhrope", "M-RoPE's ids with whole key/value heads following t, h or w; published: spatial_reset=true",
    "Revisiting Multimodal Positional Encoding, arXiv 2510.23095", "1",
    [](const Parameters&) { return std::string("heads"); }, make_stride_1);

}  // namespace ropescope
