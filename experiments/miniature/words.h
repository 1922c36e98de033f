// The miniature's language: 256 bytes, start, end and image, and a word for every colour, glyph and direction.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "world.h"

namespace ropescope::miniature {

inline constexpr int64_t kStartId = 256, kEndId = 257, kImageTokenId = 258, kFirstColourId = 259;
inline constexpr int64_t kDirections = 4;  ///< left, right, above, below

/// Ids of a world's words.
inline int64_t first_glyph_id(const World& world) { return kFirstColourId + world.colours(); }
inline int64_t first_direction_id(const World& world) { return first_glyph_id(world) + world.glyphs; }
/// A few are spare.
inline int64_t vocabulary(const World& world) {
  const int64_t used = first_direction_id(world) + kDirections;
  return used <= 288 ? 288 : (used + 15) / 16 * 16;
}

inline constexpr std::array<const char*, 16> kColourWords = {
    "red",    "green", "blue", "yellow", "magenta", "cyan", "white", "black",
    "orange", "lime",  "mint", "azure",  "violet",  "rose", "aqua",  "pink"};
inline constexpr std::array<const char*, 12> kGlyphWords = {"dots",  "pillars", "layers", "waves",
                                                            "grain", "mesh",    "weave",  "scales",
                                                            "reeds", "steps",   "bars",   "planks"};
inline constexpr std::array<const char*, kDirections> kDirectionWords = {"left", "right", "above", "below"};

/// Beyond the sixteen that have a name: "shade17", ...
inline std::string colour_word(int64_t colour) {
  return colour < 16 ? kColourWords[static_cast<size_t>(colour)] : "shade" + std::to_string(colour + 1);
}

}  // namespace ropescope::miniature
