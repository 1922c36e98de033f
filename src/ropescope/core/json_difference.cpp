#include "ropescope/core/json_difference.h"

#include <set>

namespace ropescope {

std::optional<JsonDifference> first_difference(const Json& was, const Json& is) {
  std::set<std::string> keys;
  for (const Json* side : {&was, &is}) {
    for (const auto& [key, value] : side->items()) keys.insert(key);
  }
  const auto text = [](const Json& object, const std::string& key) {
    const auto found = object.find(key);
    return found == object.end() ? std::string("nothing") : found->dump();
  };
  for (const std::string& key : keys) {
    if (text(was, key) != text(is, key)) return JsonDifference{key, text(was, key), text(is, key)};
  }
  return std::nullopt;
}

}  // namespace ropescope
