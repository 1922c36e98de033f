// JSON from untrusted files.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace ropescope {

using Json = nlohmann::json;

/// Parses `text`; `what` names it in errors. Throws InputError if it is not JSON, nests deeper than
/// `max_depth`, or has an object with the same key twice.
Json parse_json(std::string_view text, const std::string& what, int max_depth = 64);

Json read_json_file(const std::filesystem::path& path);

/// The value of a key; nullptr where it is absent or null, or where `object` is no object.
const Json* json_find(const Json& object, const char* key);
inline bool json_has(const Json& object, const char* key) { return json_find(object, key) != nullptr; }

/// Typed access whose InputError names `what`, the key, the expected type and what was found.
int64_t json_integer(const Json& object, const char* key, const std::string& what);
double json_number(const Json& object, const char* key, const std::string& what);
std::string json_string(const Json& object, const char* key, const std::string& what);
bool json_bool(const Json& object, const char* key, const std::string& what);
/// The same with a default for an absent or null key.
int64_t json_integer_or(const Json& object, const char* key, int64_t fallback, const std::string& what);
double json_number_or(const Json& object, const char* key, double fallback, const std::string& what);
std::string json_string_or(const Json& object, const char* key, const std::string& fallback,
                           const std::string& what);
bool json_bool_or(const Json& object, const char* key, bool fallback, const std::string& what);

}  // namespace ropescope
