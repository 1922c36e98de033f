#pragma once

#include <string_view>

namespace ropescope {

inline bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

}  // namespace ropescope
