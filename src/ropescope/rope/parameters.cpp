#include "ropescope/rope/parameters.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>

#include <fmt/ranges.h>

#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

std::optional<double> as_number(const std::string& text) {
  double value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size() || text.empty() || !std::isfinite(value)) {
    return std::nullopt;
  }
  return value;
}

}  // namespace

void Parameters::refuse(const std::string& name, const std::string& expected) const {
  const auto found = values_.find(name);
  throw UsageError("scheme {}: {}: expected {}, found \"{}\"", scheme_, name, expected,
                   found == values_.end() ? "nothing" : found->second);
}

std::string Parameters::text(const std::string& name, const std::string& fallback) const {
  const auto found = values_.find(name);
  return found == values_.end() ? fallback : found->second;
}

double Parameters::number(const std::string& name, double fallback) const {
  if (!has(name)) return fallback;
  const std::optional<double> value = as_number(values_.at(name));
  if (!value) refuse(name, "a number");
  return *value;
}

double Parameters::positive(const std::string& name, double fallback) const {
  const double value = number(name, fallback);
  if (value <= 0) refuse(name, "a number above 0");
  return value;
}

int64_t Parameters::integer(const std::string& name, int64_t fallback, int64_t lowest) const {
  const double value = number(name, static_cast<double>(fallback));
  if (value != std::floor(value) || value < static_cast<double>(lowest) || std::abs(value) > 1e15) {
    refuse(name, fmt::format("an integer of at least {}", lowest));
  }
  return static_cast<int64_t>(value);
}

bool Parameters::boolean(const std::string& name, bool fallback) const {
  if (!has(name)) return fallback;
  const std::string& value = values_.at(name);
  if (value == "true" || value == "1") return true;
  if (value == "false" || value == "0") return false;
  refuse(name, "true or false");
}

std::optional<std::vector<double>> Parameters::numbers(const std::string& name, size_t count) const {
  if (!has(name)) return std::nullopt;
  std::vector<double> values;
  std::stringstream stream(values_.at(name));
  const std::string expected =
      count > 0 ? fmt::format("{} numbers separated by /", count) : std::string("numbers separated by /");
  for (std::string part; std::getline(stream, part, '/');) {
    const std::optional<double> value = as_number(part);
    if (!value) refuse(name, expected);
    values.push_back(*value);
  }
  if (values.empty() || (count > 0 && values.size() != count)) refuse(name, expected);
  return values;
}

std::optional<std::vector<int64_t>> Parameters::integers(const std::string& name, size_t count) const {
  const auto values = numbers(name, count);
  if (!values) return std::nullopt;
  std::vector<int64_t> result;
  for (const double value : *values) {
    if (value != std::floor(value) || value < 0 || value > 1e9) {
      refuse(name, fmt::format("{} integers of at least 0, separated by /", count));
    }
    result.push_back(static_cast<int64_t>(value));
  }
  return result;
}

std::string Parameters::choice(const std::string& name, const std::vector<std::string>& choices) const {
  const std::string value = text(name, choices.front());
  if (std::find(choices.begin(), choices.end(), value) == choices.end()) {
    refuse(name, fmt::format("one of {}", fmt::join(choices, ", ")));
  }
  return value;
}

}  // namespace ropescope
