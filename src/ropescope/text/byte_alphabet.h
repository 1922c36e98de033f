// The alphabet of byte-level BPE vocabularies (GPT-2): each byte is written as one printable character, so
// that a vocabulary file is text. Space is "Ġ" (U+0120), newline "Ċ" (U+010A).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ropescope {

/// The character that stands for a byte, in UTF-8.
const std::string& byte_as_text(uint8_t byte);

/// The bytes of a token as stored, or nothing if it holds a character outside the alphabet.
std::optional<std::string> token_bytes(std::string_view token);

}  // namespace ropescope
