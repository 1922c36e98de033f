// What tells the settings of one run from those of another.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ropescope/core/json.h"

namespace ropescope {

struct JsonDifference {
  std::string key;      ///< of an entry inside others: "files: config.json"
  std::string was, is;  ///< the values as JSON, "nothing" where there is none
};

/// The values of two objects that differ, in the order of their names; what is an object in both is looked into. Null is as
/// good as no value.
std::vector<JsonDifference> differences(const Json& was, const Json& is);

/// The first of them; none where the objects are equal.
std::optional<JsonDifference> first_difference(const Json& was, const Json& is);

}  // namespace ropescope
