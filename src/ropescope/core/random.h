// Random streams that depend on a seed and on what they are for, never on the order or the thread of use.
#pragma once

#include <cstdint>
#include <initializer_list>

#include <boost/random/mersenne_twister.hpp>

namespace ropescope {

/// Boost's generator with Boost's distributions: the same numbers on every platform (std's distributions
/// differ).
using Rng = boost::random::mt19937_64;

/// One independent stream for each (seed, key...): for example stream(seed, {text, layer}). splitmix64 mixes
/// the keys.
inline Rng make_rng(uint64_t seed, std::initializer_list<uint64_t> keys) {
  const auto mix = [](uint64_t x) {
    x += 0x9E3779B97F4A7C15ULL;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
    return x ^ (x >> 31);
  };
  uint64_t state = mix(seed);
  // (mixing the key as well would make (a, b) and (b, a) the same stream)
  for (const uint64_t key : keys) state = mix(state ^ key);
  return Rng(state);
}

}  // namespace ropescope
