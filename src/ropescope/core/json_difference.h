// What tells the settings of one run from those of another.
#pragma once

#include <optional>
#include <string>

#include "ropescope/core/json.h"

namespace ropescope {

struct JsonDifference {
  std::string key, was, is;  ///< the values as JSON, "nothing" where there is none
};

/// The first key, in the order of names, whose value is another; none where the objects are equal.
std::optional<JsonDifference> first_difference(const Json& was, const Json& is);

}  // namespace ropescope
