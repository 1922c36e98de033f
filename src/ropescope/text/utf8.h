// UTF-8 from untrusted bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace ropescope {

/// One decoded character: `length` bytes from the start of the input. Broken input gives U+FFFD, `valid` =
/// false and the length of the maximal broken part (Unicode 15, section 3.9, table 3-8; what Python's
/// errors="replace" and Rust's from_utf8_lossy replace by one U+FFFD).
struct Utf8Char {
  char32_t code = 0xFFFD;
  uint8_t length = 0;
  bool valid = false;
};

/// `text` must not be empty.
Utf8Char decode_utf8_char(std::string_view text);

void append_utf8(std::string& out, char32_t code);

bool is_valid_utf8(std::string_view text);

/// Each maximal broken part becomes one U+FFFD.
std::string replace_broken_utf8(std::string_view text);

}  // namespace ropescope
