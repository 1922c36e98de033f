// C2RoPE, arXiv 2602.10551: m = index in the sequence, and a picture's cell (x, y) counted from its lower left corner,
// each on channels of its own; inside a picture attention goes by rings around the centre. Where the paper could be
// read second-hand only, the released code decides (github.com/ErikZ719/C2RoPE, llava/eval/utils/modeling_fca.py).
#include <algorithm>
#include <cmath>
#include <vector>

#include <ATen/ops/empty_like.h>

#include "ropescope/core/errors.h"
#include "ropescope/rope/schemes/registry.h"
#include "ropescope/rope/schemes/spatial_design.h"

namespace ropescope {

namespace {

/// Place of cell `i` of `n` on an axis with its zero at the end; of an even number the two cells at the centre share
/// one place, so that the ends are equally far from it.
double place_on_axis(int64_t i, int64_t n) {
  return static_cast<double>(n % 2 == 0 && i >= n / 2 ? i - 1 : i);
}

/// Chebyshev distance of every visual token from the middle of what its raster's tokens cover, max(|x|, |y|): of a whole
/// picture, from its centre. [S] float64, 0 for text. coordinates [3, S] float64, raster [S] int32.
at::Tensor distance_from_centre(const at::Tensor& coordinates, const at::Tensor& raster) {
  const at::Tensor places = coordinates.cpu().contiguous(), of_token = raster.cpu().contiguous();
  const int64_t tokens = of_token.size(0);
  const auto* number = of_token.const_data_ptr<int32_t>();
  const auto* x = places.const_data_ptr<double>() + tokens;
  const auto* y = x + tokens;
  struct Extent {
    double low_x = 0, high_x = 0, low_y = 0, high_y = 0;
    bool seen = false;
  };
  std::vector<Extent> extents;
  for (int64_t i = 0; i < tokens; ++i) {
    if (number[i] < 0) continue;
    const auto own = static_cast<size_t>(number[i]);
    if (own >= extents.size()) extents.resize(own + 1);
    Extent& extent = extents[own];
    if (!extent.seen) extent = {x[i], x[i], y[i], y[i], true};
    extent.low_x = std::min(extent.low_x, x[i]);
    extent.high_x = std::max(extent.high_x, x[i]);
    extent.low_y = std::min(extent.low_y, y[i]);
    extent.high_y = std::max(extent.high_y, y[i]);
  }
  at::Tensor distance = at::empty_like(places[0]);
  auto* to = distance.data_ptr<double>();
  for (int64_t i = 0; i < tokens; ++i) {
    to[i] = 0;
    if (number[i] < 0) continue;
    const Extent& extent = extents[static_cast<size_t>(number[i])];
    to[i] = std::max(std::abs(x[i] - (extent.low_x + extent.high_x) / 2),
                     std::abs(y[i] - (extent.low_y + extent.high_y) / 2));
  }
  return distance.to(coordinates.device());
}

class CartesianDesign : public PositionDesign {
 public:
  explicit CartesianDesign(bool inwards) : inwards_(inwards) {}

  int64_t axes() const override { return 3; }
  std::vector<std::string> row_names() const override { return {"m", "x", "y"}; }
  // 58, 3 and 3 of the 64 channels of the released code.
  std::vector<int64_t> default_sections(int64_t channels) const override {
    const int64_t spatial = std::min(std::max<int64_t>(1, (3 * channels + 32) / 64), channels / 2);
    return {channels - 2 * spatial, spatial, spatial};
  }
  bool ruled() const override { return true; }
  // Inwards a ring sees itself and what lies around it, outwards itself and what lies inside.
  std::shared_ptr<const AttentionRule> attention_rule(const Positions& keys, int64_t) const override {
    const at::Tensor distance = distance_from_centre(keys.coordinates, keys.raster);
    return std::make_shared<RingRule>(inwards_ ? distance.neg() : distance, keys.raster);
  }

  double place(const Grid& grid, double base, const CoordinateRows& rows) const override {
    for_each_cell(grid, [&](int64_t token, int64_t, int64_t row, int64_t column) {
      rows[0][token] = base + static_cast<double>(token);
      rows[1][token] = place_on_axis(column, grid.w);
      rows[2][token] = place_on_axis(grid.h - 1, grid.h) - place_on_axis(row, grid.h);
    });
    return base + static_cast<double>(grid.tokens());
  }

 private:
  bool inwards_;
};

}  // namespace

extern const SchemeDefinition kC2rope = {
    "c2rope",
    "three coordinates: index in the sequence, and column and row of the picture's cell on the slowest channels; rings "
    "around the picture's centre see each other",
    "C2RoPE, arXiv 2602.10551",
    {{"sections", "", "m/x/y channels; 58/3/3 of 64 unless given"},
     {"causality", "inwards",
      "what a visual token sees of its picture: inwards (its ring and those around it, as the released code masks) or "
      "outwards (its ring and those inside)"}},
    chunked_allocation,
    [](const Parameters& parameters,
       std::shared_ptr<const PositionDesign>) -> std::shared_ptr<const PositionDesign> {
      return std::make_shared<CartesianDesign>(parameters.choice("causality", {"inwards", "outwards"}) ==
                                               "inwards");
    },
    "",
    {}};

}  // namespace ropescope
