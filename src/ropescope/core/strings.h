#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ropescope {

inline bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

/// "1 question", "2 questions".
inline std::string counted(int64_t number, const std::string& one) {
  return std::to_string(number) + " " + one + (number == 1 ? "" : "s");
}

}  // namespace ropescope
