#include "ropescope/rope/schemes/registry.h"
#include "ropescope/rope/schemes/vanilla_design.h"

namespace ropescope {

double VanillaDesign::place(const Grid& grid, double base, const CoordinateRows& rows) const {
  const int64_t tokens = grid.tokens();
  double* const ids = rows[0];
  for (int64_t i = 0; i < tokens; ++i) ids[i] = base + static_cast<double>(i);
  return base + static_cast<double>(tokens);
}

extern const SchemeDefinition kVanilla = {
    "vanilla",
    "every token takes the next id, visual or not",
    "RoFormer, arXiv 2104.09864",
    {},
    single_allocation,
    [](const Parameters&, std::shared_ptr<const PositionDesign>) -> std::shared_ptr<const PositionDesign> {
      return std::make_shared<VanillaDesign>();
    },
    "",
    {}};

}  // namespace ropescope
