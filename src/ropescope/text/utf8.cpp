#include "ropescope/text/utf8.h"

#include <cstring>

namespace ropescope {

namespace {

/// Allowed range of the second byte after `lead` (it excludes overlong forms, surrogates and codes above
/// U+10FFFF), and the length that `lead` announces (0: not a lead byte).
struct LeadRule {
  uint8_t length;
  uint8_t second_low;
  uint8_t second_high;
};

constexpr LeadRule lead_rule(uint8_t lead) {
  if (lead >= 0xC2 && lead <= 0xDF) return {2, 0x80, 0xBF};
  if (lead == 0xE0) return {3, 0xA0, 0xBF};
  if (lead == 0xED) return {3, 0x80, 0x9F};
  if (lead >= 0xE1 && lead <= 0xEF) return {3, 0x80, 0xBF};
  if (lead == 0xF0) return {4, 0x90, 0xBF};
  if (lead >= 0xF1 && lead <= 0xF3) return {4, 0x80, 0xBF};
  if (lead == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

/// Length of the leading ASCII part, eight bytes at a time.
size_t ascii_prefix(std::string_view text) {
  size_t i = 0;
  for (; i + 8 <= text.size(); i += 8) {
    uint64_t block;
    std::memcpy(&block, text.data() + i, 8);
    if ((block & 0x8080808080808080ULL) != 0) break;
  }
  while (i < text.size() && static_cast<uint8_t>(text[i]) < 0x80) ++i;
  return i;
}

/// Position of the first broken byte, or the size of the text.
size_t valid_prefix(std::string_view text) {
  size_t i = 0;
  while (true) {
    i += ascii_prefix(text.substr(i));
    if (i == text.size()) return i;
    const Utf8Char next = decode_utf8_char(text.substr(i));
    if (!next.valid) return i;
    i += next.length;
  }
}

}  // namespace

Utf8Char decode_utf8_char(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {lead, 1, true};
  const LeadRule rule = lead_rule(lead);
  if (rule.length == 0) return {0xFFFD, 1, false};
  if (text.size() < 2 || byte(1) < rule.second_low || byte(1) > rule.second_high) return {0xFFFD, 1, false};
  char32_t code = ((lead & (0x7FU >> rule.length)) << 6) | (byte(1) & 0x3FU);
  for (uint8_t i = 2; i < rule.length; ++i) {
    if (i >= text.size() || (byte(i) & 0xC0) != 0x80) return {0xFFFD, i, false};
    code = (code << 6) | (byte(i) & 0x3FU);
  }
  return {code, rule.length, true};
}

void append_utf8(std::string& out, char32_t code) {
  const auto put = [&](uint32_t value) { out += static_cast<char>(value); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | (code >> 6));
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | (code >> 12));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | (code >> 18));
    put(0x80 | ((code >> 12) & 0x3F));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

bool is_valid_utf8(std::string_view text) { return valid_prefix(text) == text.size(); }

std::string replace_broken_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (true) {
    const size_t good = valid_prefix(text);
    out.append(text.substr(0, good));
    text.remove_prefix(good);
    if (text.empty()) return out;
    append_utf8(out, 0xFFFD);
    text.remove_prefix(decode_utf8_char(text).length);
  }
}

}  // namespace ropescope
