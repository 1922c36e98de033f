#include "ropescope/core/json.h"

#include <cmath>
#include <set>
#include <vector>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"

namespace ropescope {

Json parse_json(std::string_view text, const std::string& what, int max_depth) {
  std::vector<std::set<std::string>> keys;
  // The parser itself is iterative, so the depth limit guards later recursive readers, not the parser.
  const auto check = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > max_depth) throw InputError("{}: JSON nests deeper than {} levels", what, max_depth);
    switch (event) {
      case Json::parse_event_t::object_start:
        keys.emplace_back();
        break;
      case Json::parse_event_t::object_end:
        keys.pop_back();
        break;
      case Json::parse_event_t::key:
        if (!keys.back().insert(parsed.get<std::string>()).second) {
          throw InputError("{}: JSON has the key \"{}\" twice in one object", what,
                           parsed.get<std::string>());
        }
        break;
      default:
        break;
    }
    return true;
  };
  try {
    return Json::parse(text.begin(), text.end(), check);
  } catch (const Json::exception& error) {
    throw InputError("{}: not valid JSON ({})", what, error.what());
  }
}

Json read_json_file(const std::filesystem::path& path) { return parse_json(read_file(path), path.string()); }

const Json* json_find(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

namespace {

const Json* find(const Json& object, const char* key, const std::string& what) {
  if (!object.is_object()) throw InputError("{}: expected a JSON object", what);
  return json_find(object, key);
}

const Json& require(const Json& object, const char* key, const std::string& what) {
  const Json* value = find(object, key, what);
  if (value == nullptr) throw InputError("{}: the key \"{}\" is missing", what, key);
  return *value;
}

[[noreturn]] void wrong_type(const char* key, const char* expected, const Json& found,
                             const std::string& what) {
  std::string shown = found.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (shown.size() > 60) shown = shown.substr(0, 60) + "...";
  throw InputError("{}: \"{}\": expected {}, found {}", what, key, expected, shown);
}

int64_t as_integer(const Json& value, const char* key, const std::string& what) {
  if (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
    wrong_type(key, "an integer", value, what);
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  if (value.is_number_float()) {
    const double number = value.get<double>();
    if (std::nearbyint(number) == number && std::abs(number) < 9e15) return static_cast<int64_t>(number);
  }
  wrong_type(key, "an integer", value, what);
}

double as_number(const Json& value, const char* key, const std::string& what) {
  if (!value.is_number()) wrong_type(key, "a number", value, what);
  return value.get<double>();
}

std::string as_string(const Json& value, const char* key, const std::string& what) {
  if (!value.is_string()) wrong_type(key, "a string", value, what);
  return value.get<std::string>();
}

bool as_bool(const Json& value, const char* key, const std::string& what) {
  if (!value.is_boolean()) wrong_type(key, "true or false", value, what);
  return value.get<bool>();
}

}  // namespace

int64_t json_integer(const Json& object, const char* key, const std::string& what) {
  return as_integer(require(object, key, what), key, what);
}
double json_number(const Json& object, const char* key, const std::string& what) {
  return as_number(require(object, key, what), key, what);
}
std::string json_string(const Json& object, const char* key, const std::string& what) {
  return as_string(require(object, key, what), key, what);
}
bool json_bool(const Json& object, const char* key, const std::string& what) {
  return as_bool(require(object, key, what), key, what);
}
int64_t json_integer_or(const Json& object, const char* key, int64_t fallback, const std::string& what) {
  const Json* value = find(object, key, what);
  return value == nullptr ? fallback : as_integer(*value, key, what);
}
double json_number_or(const Json& object, const char* key, double fallback, const std::string& what) {
  const Json* value = find(object, key, what);
  return value == nullptr ? fallback : as_number(*value, key, what);
}
std::string json_string_or(const Json& object, const char* key, const std::string& fallback,
                           const std::string& what) {
  const Json* value = find(object, key, what);
  return value == nullptr ? fallback : as_string(*value, key, what);
}
bool json_bool_or(const Json& object, const char* key, bool fallback, const std::string& what) {
  const Json* value = find(object, key, what);
  return value == nullptr ? fallback : as_bool(*value, key, what);
}

}  // namespace ropescope
