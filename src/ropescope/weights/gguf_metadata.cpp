// Typed access to GGUF metadata.
#include <cmath>

#include "ropescope/core/errors.h"
#include "ropescope/weights/gguf.h"

namespace ropescope {

namespace {

const GgufValue* find(const GgufMetadata& metadata, const std::string& key) {
  const auto found = metadata.find(key);
  return found == metadata.end() ? nullptr : &found->second;
}

const GgufValue& require(const GgufMetadata& metadata, const std::string& key, const std::string& what) {
  const GgufValue* value = find(metadata, key);
  if (value == nullptr) throw InputError("{}: the metadata key \"{}\" is missing", what, key);
  return *value;
}

const char* value_kind(const GgufValue& value) {
  constexpr const char* kKinds[] = {"an unsigned integer", "an integer", "a number",
                                    "true or false",       "a string",   "an array"};
  return kKinds[value.index()];
}

[[noreturn]] void wrong_type(const std::string& key, const char* expected, const GgufValue& found,
                             const std::string& what) {
  throw InputError("{}: metadata \"{}\": expected {}, found {}", what, key, expected, value_kind(found));
}

int64_t to_integer(uint64_t value, const std::string& key, const std::string& what) {
  if (value > static_cast<uint64_t>(INT64_MAX)) {
    throw InputError("{}: metadata \"{}\": expected an integer below 2^63, found {}", what, key, value);
  }
  return static_cast<int64_t>(value);
}

int64_t as_integer(const GgufValue& value, const std::string& key, const std::string& what) {
  if (const auto* number = std::get_if<uint64_t>(&value)) return to_integer(*number, key, what);
  if (const auto* number = std::get_if<int64_t>(&value)) return *number;
  wrong_type(key, "an integer", value, what);
}

double as_number(const GgufValue& value, const std::string& key, const std::string& what) {
  double number = 0;
  if (const auto* real = std::get_if<double>(&value)) {
    number = *real;
  } else if (value.index() <= 1) {
    number = static_cast<double>(as_integer(value, key, what));
  } else {
    wrong_type(key, "a number", value, what);
  }
  if (!std::isfinite(number)) {
    throw InputError("{}: metadata \"{}\": expected a finite number, found {}", what, key, number);
  }
  return number;
}

const GgufArray& require_array(const GgufMetadata& metadata, const std::string& key,
                               const std::string& what) {
  const GgufValue& value = require(metadata, key, what);
  const auto* array = std::get_if<std::shared_ptr<const GgufArray>>(&value);
  if (array == nullptr) wrong_type(key, "an array", value, what);
  return **array;
}

}  // namespace

int64_t gguf_integer(const GgufMetadata& metadata, const std::string& key, const std::string& what) {
  return as_integer(require(metadata, key, what), key, what);
}

int64_t gguf_integer_or(const GgufMetadata& metadata, const std::string& key, int64_t fallback,
                        const std::string& what) {
  const GgufValue* value = find(metadata, key);
  return value == nullptr ? fallback : as_integer(*value, key, what);
}

double gguf_number_or(const GgufMetadata& metadata, const std::string& key, double fallback,
                      const std::string& what) {
  const GgufValue* value = find(metadata, key);
  return value == nullptr ? fallback : as_number(*value, key, what);
}

bool gguf_bool_or(const GgufMetadata& metadata, const std::string& key, bool fallback,
                  const std::string& what) {
  const GgufValue* value = find(metadata, key);
  if (value == nullptr) return fallback;
  if (const auto* truth = std::get_if<bool>(value)) return *truth;
  wrong_type(key, "true or false", *value, what);
}

std::string gguf_string(const GgufMetadata& metadata, const std::string& key, const std::string& what) {
  const GgufValue& value = require(metadata, key, what);
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  wrong_type(key, "a string", value, what);
}

std::string gguf_string_or(const GgufMetadata& metadata, const std::string& key, const std::string& fallback,
                           const std::string& what) {
  return find(metadata, key) == nullptr ? fallback : gguf_string(metadata, key, what);
}

const std::vector<std::string>& gguf_strings(const GgufMetadata& metadata, const std::string& key,
                                             const std::string& what) {
  const auto* strings = std::get_if<std::vector<std::string>>(&require_array(metadata, key, what).values);
  if (strings == nullptr) throw InputError("{}: metadata \"{}\": expected an array of strings", what, key);
  return *strings;
}

std::vector<int64_t> gguf_integers(const GgufMetadata& metadata, const std::string& key,
                                   const std::string& what) {
  const GgufArray& array = require_array(metadata, key, what);
  if (const auto* numbers = std::get_if<std::vector<int64_t>>(&array.values)) return *numbers;
  std::vector<int64_t> widened;
  if (const auto* numbers = std::get_if<std::vector<uint64_t>>(&array.values)) {
    for (const uint64_t number : *numbers) widened.push_back(to_integer(number, key, what));
  } else if (const auto* truths = std::get_if<std::vector<bool>>(&array.values)) {
    widened.assign(truths->begin(), truths->end());
  } else {
    throw InputError("{}: metadata \"{}\": expected an array of integers", what, key);
  }
  return widened;
}

std::vector<double> gguf_numbers(const GgufMetadata& metadata, const std::string& key,
                                 const std::string& what) {
  const GgufArray& array = require_array(metadata, key, what);
  if (const auto* numbers = std::get_if<std::vector<double>>(&array.values)) return *numbers;
  const std::vector<int64_t> integers = gguf_integers(metadata, key, what);
  return {integers.begin(), integers.end()};
}

std::optional<std::string> gguf_architecture(const GgufMetadata& metadata, const std::string& what) {
  constexpr const char* kKey = "general.architecture";
  if (find(metadata, kKey) == nullptr) return std::nullopt;
  return gguf_string(metadata, kKey, what);
}

}  // namespace ropescope
