// VRoPE, arXiv 2502.11664: four coordinates that run along both diagonals in both directions, so that no corner of a
// frame is nearer to the text than another on the whole; frames and text follow each other without a jump.
#include "ropescope/rope/schemes/registry.h"
#include "ropescope/rope/schemes/spatial_design.h"

namespace ropescope {

namespace {

class SymmetricDesign : public PositionDesign {
 public:
  int64_t axes() const override { return 4; }
  std::vector<std::string> row_names() const override {
    return {"r+c", "r+(W-1-c)", "(H-1-r)+c", "(H-1-r)+(W-1-c)"};
  }

  double place(const Grid& grid, double base, const CoordinateRows& rows) const override {
    double* const of[] = {rows[0], rows[1], rows[2], rows[3]};
    const int64_t span = grid.h + grid.w - 1;
    for_each_cell(grid, [&](int64_t token, int64_t tau, int64_t r, int64_t c) {
      const double start = base + static_cast<double>(tau * span);
      const int64_t up = grid.h - 1 - r, left = grid.w - 1 - c;
      of[0][token] = start + static_cast<double>(r + c);
      of[1][token] = start + static_cast<double>(r + left);
      of[2][token] = start + static_cast<double>(up + c);
      of[3][token] = start + static_cast<double>(up + left);
    });
    return base + static_cast<double>(grid.t * span);
  }
};

}  // namespace

extern const SchemeDefinition kVrope = {
    "vrope",
    "four coordinates, the sums of row and column counted from each corner; channels follow them in turn",
    "VRoPE, arXiv 2502.11664",
    {},
    [](const Parameters&) { return std::string("cyclic"); },
    [](const Parameters&, std::shared_ptr<const PositionDesign>) -> std::shared_ptr<const PositionDesign> {
      return std::make_shared<SymmetricDesign>();
    },
    "",
    {}};

}  // namespace ropescope
