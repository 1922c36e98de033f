// exp of float32 for loops that a compiler turns into vector instructions.
#pragma once

#include <bit>
#include <cstdint>

#include "ropescope/core/vector_units.h"

namespace ropescope {

/// What x is held at from above, where exp(x) is 1.7e38. It is read where the program runs: a compiler that knows it computes
/// what follows from it (x / (1 + exp(x)), say) for every x, and such numbers below 1e-38 cost a processor 150 cycles each.
inline float highest_exponent() {
  static const volatile float kHighest = 88.0f;
  return kHighest;
}

/// exp to 1e-7 (relative), from 2^n and a polynomial on [-ln 2 / 2, ln 2 / 2]; flushed to about 1e-38 below
/// -87, held above `highest` (highest_exponent, read before the loop). NaN stays NaN. Source: Cephes, expf.
ROPESCOPE_INLINE float exp_of(float x, float highest) {
  constexpr float kLowest = -87.0f, kPerTurn = 1.44269504f;
  constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: rounds to the nearest integer
  x = x < kLowest ? kLowest : x;
  x = x > highest ? highest : x;
  const float n = (x * kPerTurn + kRound) - kRound;
  const float r = (x - n * kLn2High) - n * kLn2Low;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  return p * std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
}

}  // namespace ropescope
