#include "ropescope/eval/python_numbers.h"

#include <cmath>
#include <cstdlib>

#include <fmt/format.h>
#include <unicode/uchar.h>

namespace ropescope::eval {

std::optional<std::string> python_int(TextView text) {
  // (the separators 1C to 1F are white space for str.strip, but not here)
  const auto blank = [](char32_t c) { return is_space(c) && !(c >= 0x1C && c <= 0x1F); };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  bool negative = false;
  if (!text.empty() && (text[0] == U'+' || text[0] == U'-')) {
    negative = text[0] == U'-';
    text.remove_prefix(1);
  }
  std::string digits;
  bool after_digit = false;  // an underscore stands between two digits only
  for (const char32_t c : text) {
    const int32_t digit = is_digit(c) ? u_charDigitValue(static_cast<UChar32>(c)) : -1;
    if (digit >= 0) {
      digits += static_cast<char>('0' + digit);
    } else if (c != U'_' || !after_digit) {
      return std::nullopt;
    }
    after_digit = digit >= 0;
  }
  if (!after_digit) return std::nullopt;
  const size_t first = digits.find_first_not_of('0');
  if (first == std::string::npos) return "0";
  return (negative ? "-" : "") + digits.substr(first);
}

std::optional<std::string> python_truncated(double value) {
  if (!std::isfinite(value)) return std::nullopt;
  const std::string text = fmt::format("{:.0f}", std::trunc(value));
  return text == "-0" ? "0" : text;
}

std::string python_float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  // The shortest digits that give the value back, with an exponent from 1e16 on and below 1e-4.
  std::string shortest = fmt::format("{}", value);
  const double size = std::abs(value);
  if (size != 0 && (size >= 1e16 || size < 1e-4)) return shortest;
  if (shortest.find('e') != std::string::npos) shortest = fmt::format("{:.0f}", value);
  return shortest.find('.') == std::string::npos ? shortest + ".0" : shortest;
}

std::string python_rounded(double value, int64_t digits) {
  if (!std::isfinite(value)) return python_float_text(value);
  constexpr int64_t kMost = 323;
  if (digits > kMost) return python_float_text(value);
  if (digits < 0) {
    // (Python rounds to tens, hundreds and so on)
    const double unit = std::pow(10.0, static_cast<double>(-digits));
    return python_float_text(std::nearbyint(value / unit) * unit);
  }
  return python_float_text(std::strtod(fmt::format("{:.{}f}", value, digits).c_str(), nullptr));
}

}  // namespace ropescope::eval
