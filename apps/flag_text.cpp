#include "flag_text.h"

#include <charconv>
#include <cmath>
#include <optional>
#include <sstream>

#include "ropescope/core/errors.h"

namespace ropescope::app {

namespace {

std::vector<std::string> split_list(const std::string& text) {
  std::vector<std::string> parts;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  return parts;
}

/// The whole text as a number, or nothing.
template <typename T>
std::optional<T> to_number(const std::string& text) {
  T value{};
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

}  // namespace

int64_t parse_whole(const std::string& text, const std::string& flag) {
  if (const auto value = to_number<int64_t>(text)) return *value;
  throw UsageError("--{}: expected a whole number, found \"{}\"", flag, text);
}

uint64_t parse_natural(const std::string& text, const std::string& flag) {
  if (const auto value = to_number<uint64_t>(text)) return *value;
  throw UsageError("--{}: expected a whole number that is not negative, found \"{}\"", flag, text);
}

double parse_real(const std::string& text, const std::string& flag) {
  const auto value = to_number<double>(text);
  if (value && std::isfinite(*value)) return *value;
  throw UsageError("--{}: expected a number, found \"{}\"", flag, text);
}

std::vector<int64_t> parse_integer_list(const std::string& text, const std::string& flag) {
  constexpr int64_t kLongestRange = 10'000'000;
  std::vector<int64_t> values;
  const auto integer = [&flag](const std::string& word) {
    if (const auto value = to_number<int64_t>(word)) return *value;
    throw UsageError("--{}: expected integers like 0-3,31, found \"{}\"", flag, word);
  };
  for (const std::string& part : split_list(text)) {
    const size_t dash = part.find('-', 1);
    if (dash == std::string::npos) {
      values.push_back(integer(part));
      continue;
    }
    const int64_t first = integer(part.substr(0, dash)), last = integer(part.substr(dash + 1));
    if (last < first || last - first > kLongestRange) {
      throw UsageError("--{}: expected a range first-last with first <= last, found \"{}\"", flag, part);
    }
    for (int64_t value = first; value <= last; ++value) values.push_back(value);
  }
  if (values.empty()) throw UsageError("--{}: expected at least one integer, found none", flag);
  return values;
}

std::vector<double> parse_number_list(const std::string& text, const std::string& flag) {
  std::vector<double> values;
  for (const std::string& part : split_list(text)) {
    const auto value = to_number<double>(part);
    if (!value || !std::isfinite(*value)) {
      throw UsageError("--{}: expected numbers like 1e4,1e6, found \"{}\"", flag, part);
    }
    values.push_back(*value);
  }
  if (values.empty()) throw UsageError("--{}: expected at least one number, found none", flag);
  return values;
}

std::string one_of_these(const std::vector<std::string>& words) {
  std::string text;
  for (size_t i = 0; i < words.size(); ++i) {
    text += (i == 0 ? "" : i + 1 == words.size() ? " or " : ", ") + words[i];
  }
  return text;
}

}  // namespace ropescope::app
