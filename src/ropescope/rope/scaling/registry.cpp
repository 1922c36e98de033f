#include <algorithm>

#include "ropescope/core/errors.h"
#include "ropescope/rope/scaling/scaling.h"

namespace ropescope {

// One line a type: declared here, defined in the file of its name, listed below.
extern const ContextScaling kPlainScaling;
extern const ContextScaling kLinearScaling;
extern const ContextScaling kDynamicScaling;
extern const ContextScaling kNtkScaling;
extern const ContextScaling kYarnScaling;
extern const ContextScaling kLlama3Scaling;
extern const ContextScaling kProportionalScaling;
extern const ContextScaling kLongropeScaling;
extern const ContextScaling kCopeScaling;
extern const ContextScaling kPerAxisScaling;
extern const ContextScaling kNtkSpanScaling;
extern const ContextScaling kMeanScaling;
extern const ContextScaling kFopeScaling;

const std::vector<ContextScaling>& context_scalings() {
  static const std::vector<ContextScaling> all = {
      kPlainScaling,        kLinearScaling,   kDynamicScaling, kNtkScaling,     kYarnScaling,
      kLlama3Scaling,       kLongropeScaling, kCopeScaling,    kPerAxisScaling, kNtkSpanScaling,
      kProportionalScaling, kMeanScaling,     kFopeScaling,
  };
  return all;
}

const ContextScaling& scaling_of(RopeType type) {
  for (const ContextScaling& scaling : context_scalings()) {
    if (scaling.type == type) return scaling;
  }
  throw InternalError("rope type {} has no name", static_cast<int>(type));
}

bool ContextScaling::reads(std::string_view key) const {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

}  // namespace ropescope
