#include "ropescope/eval/base64.h"

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

}  // namespace ropescope::eval
