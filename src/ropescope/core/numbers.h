// Numbers that are none, or beyond all others, and whole numbers in text.
#pragma once

#include <charconv>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>
#include <system_error>

namespace ropescope {

inline constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
inline constexpr double kInfinity = std::numeric_limits<double>::infinity();
inline constexpr double kNegativeInfinity = -std::numeric_limits<double>::infinity();

/// A whole number >= 0 that fills `text`, or none.
inline std::optional<int64_t> parse_whole_number(std::string_view text) {
  int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, value);
  if (text.empty() || code != std::errc() || stop != end || value < 0) return std::nullopt;
  return value;
}

}  // namespace ropescope
