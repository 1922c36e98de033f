// The miniature's language: 256 bytes, start, end and image, and a word for every colour and glyph.
#pragma once

#include <array>
#include <cstdint>

#include "pictures.h"

namespace ropescope::miniature {

inline constexpr int64_t kStartId = 256, kEndId = 257, kImageTokenId = 258;
inline constexpr int64_t kFirstColourId = 259, kFirstGlyphId = kFirstColourId + kColours;
inline constexpr int64_t kVocabulary = 288;  ///< a few are spare

inline constexpr std::array<const char*, kColours> kColourWords = {
    "red",    "green", "blue", "yellow", "magenta", "cyan", "white", "black",
    "orange", "lime",  "mint", "azure",  "violet",  "rose", "aqua",  "pink"};
inline constexpr std::array<const char*, kGlyphs> kGlyphWords = {"dots", "pillars", "layers", "waves"};

}  // namespace ropescope::miniature
