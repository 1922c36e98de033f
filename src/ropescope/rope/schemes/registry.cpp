#include "ropescope/rope/schemes/registry.h"

namespace ropescope {

// One line a scheme: declared here, defined in the file of its name, listed below.
extern const SchemeDefinition kVanilla;
extern const SchemeDefinition kIdAlign;
extern const SchemeDefinition kV2pe;
extern const SchemeDefinition kMrope;
extern const SchemeDefinition kMropeInterleave;
extern const SchemeDefinition kMhrope;
extern const SchemeDefinition kVideorope;
extern const SchemeDefinition kHope;
extern const SchemeDefinition kCirclerope;
extern const SchemeDefinition kIlrope;
extern const SchemeDefinition kOmnirope;
extern const SchemeDefinition kMmrope;
extern const SchemeDefinition kGrape;
extern const SchemeDefinition kDipe;
extern const SchemeDefinition kCca;
extern const SchemeDefinition kPype;
extern const SchemeDefinition kAlibi;
extern const SchemeDefinition kXdRope;
extern const SchemeDefinition kVrope;
extern const SchemeDefinition kRopeDhr;
extern const SchemeDefinition kPpe;
extern const SchemeDefinition kSpiral;
extern const SchemeDefinition kMixed;
extern const SchemeDefinition kC2rope;
extern const SchemeDefinition kPanorope;

const std::vector<SchemeDefinition>& scheme_definitions() {
  static const std::vector<SchemeDefinition> all = {
      kVanilla, kIdAlign,    kV2pe,   kMrope,    kMropeInterleave, kMhrope,  kVideorope,
      kHope,    kCirclerope, kIlrope, kOmnirope, kMmrope,          kGrape,   kDipe,
      kCca,     kPype,       kAlibi,  kXdRope,   kVrope,           kRopeDhr, kPpe,
      kSpiral,  kMixed,      kC2rope, kPanorope,
  };
  return all;
}

}  // namespace ropescope
