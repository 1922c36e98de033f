#include "ropescope/text/byte_alphabet.h"

#include <array>

#include "ropescope/text/utf8.h"

namespace ropescope {

namespace {

struct ByteAlphabet {
  // 188 bytes stand for themselves; the other 68 take the codes from U+0100 in order.
  static constexpr size_t kCodes = 256 + 68;
  std::array<std::string, 256> text;
  std::array<int16_t, kCodes> byte;

  ByteAlphabet() {
    byte.fill(-1);
    char32_t next = 256;
    for (int b = 0; b < 256; ++b) {
      const bool itself = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      const char32_t code = itself ? static_cast<char32_t>(b) : next++;
      append_utf8(text[b], code);
      byte[code] = static_cast<int16_t>(b);
    }
  }
};

const ByteAlphabet& alphabet() {
  static const ByteAlphabet instance;
  return instance;
}

}  // namespace

const std::string& byte_as_text(uint8_t byte) { return alphabet().text[byte]; }

std::optional<std::string> token_bytes(std::string_view token) {
  std::string bytes;
  bytes.reserve(token.size());
  while (!token.empty()) {
    const Utf8Char next = decode_utf8_char(token);
    if (!next.valid || next.code >= ByteAlphabet::kCodes || alphabet().byte[next.code] < 0)
      return std::nullopt;
    bytes += static_cast<char>(alphabet().byte[next.code]);
    token.remove_prefix(next.length);
  }
  return bytes;
}

}  // namespace ropescope
