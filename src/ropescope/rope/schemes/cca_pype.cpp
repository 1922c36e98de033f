// Concentric rings: a token's id is its distance from the border of its raster.
#include <algorithm>

#include "ropescope/core/errors.h"
#include "ropescope/rope/schemes/registry.h"
#include "ropescope/rope/schemes/spatial_design.h"

namespace ropescope {

namespace {

// Each frame has its own rings; the frames of a video follow each other.
class RingDesign : public PositionDesign {
 public:
  int64_t axes() const override { return 1; }
  bool ruled() const override { return true; }
  // The ids are the rings, and what lies inside a ring is seen from it.
  std::shared_ptr<const AttentionRule> attention_rule(const Positions& keys, int64_t) const override {
    return std::make_shared<RingRule>(keys.coordinates[0], keys.raster);
  }
  double place(const Grid& grid, double base, const CoordinateRows& rows) const override {
    const int64_t count = rings_of(grid);
    for_each_cell(grid, [&](int64_t token, int64_t tau, int64_t y, int64_t x) {
      const int64_t ring = std::min({y, x, grid.h - 1 - y, grid.w - 1 - x, count - 1});
      rows[0][token] = base + static_cast<double>(tau * count + ring);
    });
    return base + static_cast<double>(grid.t * count);
  }

 protected:
  virtual int64_t rings_of(const Grid& grid) const { return (std::min(grid.h, grid.w) + 1) / 2; }
};

// The rings merge into the centre's as layers go deeper, until the whole raster has one id.
class PyramidDesign : public RingDesign {
 public:
  PyramidDesign(int64_t interval, int64_t layer) : interval_(interval), layer_(layer) {}
  std::shared_ptr<const PositionDesign> at_layer(int64_t layer, int64_t) const override {
    return std::make_shared<PyramidDesign>(interval_, layer);
  }

 protected:
  int64_t rings_of(const Grid& grid) const override {
    const int64_t most = std::max<int64_t>(1, std::min(grid.h, grid.w) / 2);
    return most + 1 - std::min(most, layer_ / interval_ + 1);
  }

 private:
  int64_t interval_, layer_;
};

std::shared_ptr<const PositionDesign> make_cca(const Parameters&, std::shared_ptr<const PositionDesign>) {
  return std::make_shared<RingDesign>();
}

std::shared_ptr<const PositionDesign> make_pype(const Parameters& parameters,
                                                std::shared_ptr<const PositionDesign>) {
  if (!parameters.has("interval")) {
    throw UsageError(
        "scheme pype: expected interval=n (layers after which a ring is lost; the paper's code "
        "has no default), found none");
  }
  return std::make_shared<PyramidDesign>(parameters.integer("interval", 1, 1),
                                         parameters.integer("layer", 0, 0));
}

}  // namespace

extern const SchemeDefinition kCca = {"cca",
                                      "visual tokens have the id of their ring, counted from the picture's "
                                      "border inwards; rings see each other",
                                      "Concentric Causal Attention, arXiv 2410.15926",
                                      {},
                                      single_allocation,
                                      make_cca,
                                      "",
                                      {}};

extern const SchemeDefinition kPype = {
    "pype",
    "as cca, with rings that merge from layer to layer",
    "Pyramid-descent Visual Position Encoding, arXiv 2501.10967",
    {{"interval", "", "layers after which one ring is lost; must be given"},
     {"layer", "0", "decoder layer (0-based) whose ids are shown; a model uses its own"}},
    single_allocation,
    make_pype,
    "",
    {}};

}  // namespace ropescope
