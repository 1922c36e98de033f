// Reads a scheme's text into definitions and parameters.
#pragma once

#include <string>
#include <vector>

#include "ropescope/rope/scheme.h"

namespace ropescope {

struct SchemePart {
  const SchemeDefinition* definition = nullptr;
  std::string allocation;  ///< after '/', empty if none
  Parameters parameters;
};

/// The parts of "part+part", the design first and the modifiers in their order; a default design is added
/// where only modifiers are named. Throws UsageError.
std::vector<SchemePart> parse_scheme_parts(const std::string& text);

}  // namespace ropescope
