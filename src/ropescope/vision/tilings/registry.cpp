#include "ropescope/vision/tilings/tiling.h"

namespace ropescope {

// One line a family of tilings: declared here, defined in the file of its name, listed below.
extern const Tiling kNativeTiling;
extern const Tiling kOnevisionTiling;
extern const Tiling kInternvlTiling;
extern const Tiling kIdeficsTiling;
extern const Tiling kGemmaTiling;
extern const Tiling kLlavaTiling;

const std::vector<Tiling>& tilings() {
  static const std::vector<Tiling> all = {
      kNativeTiling, kOnevisionTiling, kInternvlTiling, kIdeficsTiling, kGemmaTiling, kLlavaTiling,
  };
  return all;
}

}  // namespace ropescope
