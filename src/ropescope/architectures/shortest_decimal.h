// Numbers that GGUF stores in float32, as they were written.
#pragma once

#include <string>

#include <fmt/format.h>

namespace ropescope {

/// 1e-05, not the 9.99999975e-06 that float32 widens to; a number that no float32 holds stays.
inline double shortest_decimal(double number) {
  const auto narrow = static_cast<float>(number);
  return static_cast<double>(narrow) == number ? std::stod(fmt::format("{}", narrow)) : number;
}

}  // namespace ropescope
