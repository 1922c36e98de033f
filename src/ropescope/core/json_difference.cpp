#include "ropescope/core/json_difference.h"

#include <set>

namespace ropescope {

namespace {

/// The value under a key; null where there is none.
const Json& value_of(const Json& object, const std::string& key) {
  static const Json none;
  const auto found = object.find(key);
  return found == object.end() ? none : *found;
}

std::string text_of(const Json& value) { return value.is_null() ? "nothing" : value.dump(); }

void add_differences(const std::string& key, const Json& was, const Json& is,
                     std::vector<JsonDifference>& found) {
  if (was == is || was.dump() == is.dump()) return;  // (what is no number is not equal to itself)
  if (!was.is_object() || !is.is_object()) {
    found.push_back({key.empty() ? "the whole" : key, text_of(was), text_of(is)});
    return;
  }
  std::set<std::string> names;
  for (const Json* side : {&was, &is}) {
    for (const auto& [name, value] : side->items()) names.insert(name);
  }
  for (const std::string& name : names) {
    add_differences(key.empty() ? name : key + ": " + name, value_of(was, name), value_of(is, name), found);
  }
}

}  // namespace

std::vector<JsonDifference> differences(const Json& was, const Json& is) {
  std::vector<JsonDifference> found;
  add_differences("", was, is, found);
  return found;
}

std::optional<JsonDifference> first_difference(const Json& was, const Json& is) {
  const std::vector<JsonDifference> all = differences(was, is);
  return all.empty() ? std::nullopt : std::optional(all.front());
}

}  // namespace ropescope
