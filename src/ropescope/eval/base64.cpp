#include "ropescope/eval/base64.h"

#include <algorithm>
#include <climits>

#include <openssl/evp.h>

namespace ropescope::eval {

namespace {

bool in_alphabet(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
}

}  // namespace

std::optional<std::string> decode_base64(std::string_view text) {
  std::string plain;
  plain.reserve(text.size());
  size_t padding = 0;
  for (const char c : text) {
    if (c == ' ' || (c >= '\t' && c <= '\r')) continue;
    if (c == '=') {
      ++padding;
    } else if (!in_alphabet(c) || padding > 0) {
      return std::nullopt;
    }
    plain += c;
  }
  if (plain.empty() || plain.size() % 4 != 0 || padding > 2 || plain.size() > INT_MAX) return std::nullopt;
  std::string bytes(plain.size() / 4 * 3, '\0');
  const int length =
      EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                      reinterpret_cast<const unsigned char*>(plain.data()), static_cast<int>(plain.size()));
  if (length < 0) return std::nullopt;
  bytes.resize(static_cast<size_t>(length) - padding);
  return bytes;
}

std::string encode_base64(std::string_view bytes) {
  constexpr size_t kPiece = 3 << 20;  // EVP counts in int
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');
  size_t written = 0;
  for (size_t at = 0; at < bytes.size(); at += kPiece) {
    const size_t length = std::min(kPiece, bytes.size() - at);
    written += static_cast<size_t>(EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data() + written),
                                                   reinterpret_cast<const unsigned char*>(bytes.data() + at),
                                                   static_cast<int>(length)));
  }
  text.resize(written);
  return text;
}

}  // namespace ropescope::eval
