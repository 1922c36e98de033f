#include "ropescope/eval/python_text.h"

#include <cstdlib>

#include <unicode/locid.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include "ropescope/text/utf8.h"

namespace ropescope::eval {

namespace {

icu::UnicodeString to_icu(TextView text) {
  return icu::UnicodeString::fromUTF32(reinterpret_cast<const UChar32*>(text.data()),
                                       static_cast<int32_t>(text.size()));
}

Text from_icu(const icu::UnicodeString& text) {
  Text out;
  out.reserve(static_cast<size_t>(text.length()));
  for (int32_t i = 0; i < text.length(); i = text.moveIndex32(i, 1)) {
    out += static_cast<char32_t>(text.char32At(i));
  }
  return out;
}

bool is_ascii(TextView text) {
  for (const char32_t c : text) {
    if (c >= 0x80) return false;
  }
  return true;
}

}  // namespace

Text from_utf8(std::string_view utf8) {
  Text out;
  out.reserve(utf8.size());
  while (!utf8.empty()) {
    const Utf8Char next = decode_utf8_char(utf8);
    out += next.code;
    utf8.remove_prefix(next.length);
  }
  return out;
}

std::string to_utf8(TextView text) {
  std::string out;
  out.reserve(text.size());
  for (const char32_t c : text) append_utf8(out, c);
  return out;
}

bool is_space(char32_t c) {
  if (c < 0x80) return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20);
  return u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_WHITE_SPACE) != 0;
}

bool is_letter(char32_t c) { return u_isalpha(static_cast<UChar32>(c)) != 0; }
bool is_upper(char32_t c) { return u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_UPPERCASE) != 0; }
bool is_digit(char32_t c) { return u_charType(static_cast<UChar32>(c)) == U_DECIMAL_DIGIT_NUMBER; }

bool is_word(char32_t c) {
  return c == U'_' || is_letter(c) || u_getNumericValue(static_cast<UChar32>(c)) != U_NO_NUMERIC_VALUE;
}

bool is_word_boundary(TextView text, size_t i) {
  const bool before = i > 0 && is_word(text[i - 1]);
  const bool after = i < text.size() && is_word(text[i]);
  return before != after;
}

size_t past_blanks(TextView text, size_t at) {
  while (at < text.size() && is_space(text[at])) ++at;
  return at;
}

Text lower(TextView text) {
  if (!is_ascii(text)) return from_icu(to_icu(text).toLower(icu::Locale::getRoot()));
  Text out(text);
  for (char32_t& c : out) {
    if (c >= U'A' && c <= U'Z') c += 32;
  }
  return out;
}

Text upper(TextView text) { return from_icu(to_icu(text).toUpper(icu::Locale::getRoot())); }

Text capitalise(TextView text) {
  if (text.empty()) return {};
  const icu::UnicodeString first = to_icu(text.substr(0, 1))
                                       .toTitle(nullptr, icu::Locale::getRoot(),
                                                U_TITLECASE_NO_LOWERCASE | U_TITLECASE_NO_BREAK_ADJUSTMENT);
  // (lowered as a whole, because a final sigma depends on what stands before it)
  const Text lowered = lower(text);
  const size_t lowered_first = lower(text.substr(0, 1)).size();
  return from_icu(first) + lowered.substr(lowered_first);
}

TextView strip(TextView text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

TextView strip_any(TextView text, TextView characters) {
  const size_t first = text.find_first_not_of(characters);
  if (first == TextView::npos) return {};
  return text.substr(first, text.find_last_not_of(characters) - first + 1);
}

std::vector<Text> split(TextView text) {
  std::vector<Text> parts;
  size_t begin = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && !is_space(text[i])) continue;
    if (i > begin) parts.emplace_back(text.substr(begin, i - begin));
    begin = i + 1;
  }
  return parts;
}

Text join(const std::vector<Text>& parts, TextView separator) {
  Text out;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) out += separator;
    out += parts[i];
  }
  return out;
}

Text replace_all(TextView text, TextView what, TextView by) {
  Text out;
  size_t from = 0;
  for (size_t at = text.find(what); at != TextView::npos; at = text.find(what, from)) {
    out += text.substr(from, at - from);
    out += by;
    from = at + what.size();
  }
  return out += text.substr(from);
}

bool contains(TextView text, TextView part) { return text.find(part) != TextView::npos; }

namespace {

/// digit (["_"] digit)*, copied without the underscores.
bool read_digits(const std::string& text, size_t& at, std::string& plain) {
  const auto digit = [&](size_t i) { return i < text.size() && text[i] >= '0' && text[i] <= '9'; };
  if (!digit(at)) return false;
  while (digit(at) || (at < text.size() && text[at] == '_' && digit(at + 1))) {
    if (text[at] != '_') plain += text[at];
    ++at;
  }
  return true;
}

}  // namespace

std::optional<double> parse_float(TextView text) {
  // (the separators 1C to 1F are white space for str.strip, but not here)
  const auto blank = [](char32_t c) { return is_space(c) && !(c >= 0x1C && c <= 0x1F); };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  std::string ascii;
  for (const char32_t c : text) {
    const int32_t digit = is_digit(c) ? u_charDigitValue(static_cast<UChar32>(c)) : -1;
    if (digit >= 0) {
      ascii += static_cast<char>('0' + digit);
    } else if (c < 0x80) {
      ascii += static_cast<char>(c >= U'A' && c <= U'Z' ? c + 32 : c);
    } else {
      return std::nullopt;
    }
  }
  std::string plain;
  size_t at = 0;
  if (at < ascii.size() && (ascii[at] == '+' || ascii[at] == '-')) plain += ascii[at++];
  const std::string rest = ascii.substr(at);
  if (rest == "nan" || rest == "inf" || rest == "infinity")
    return std::strtod((plain + rest).c_str(), nullptr);
  const bool whole = read_digits(ascii, at, plain);
  bool fraction = false;
  if (at < ascii.size() && ascii[at] == '.') {
    plain += ascii[at++];
    fraction = read_digits(ascii, at, plain);
  }
  if (!whole && !fraction) return std::nullopt;
  if (at < ascii.size() && ascii[at] == 'e') {
    plain += ascii[at++];
    if (at < ascii.size() && (ascii[at] == '+' || ascii[at] == '-')) plain += ascii[at++];
    if (!read_digits(ascii, at, plain)) return std::nullopt;
  }
  if (at != ascii.size()) return std::nullopt;
  return std::strtod(plain.c_str(), nullptr);
}

namespace {

int hex_value(char32_t c) {
  if (c >= U'0' && c <= U'9') return static_cast<int>(c - U'0');
  if (c >= U'a' && c <= U'f') return static_cast<int>(c - U'a') + 10;
  if (c >= U'A' && c <= U'F') return static_cast<int>(c - U'A') + 10;
  return -1;
}

/// The character after a backslash, at text[at]; false where Python refuses it.
bool read_escape(TextView text, size_t& at, Text& out) {
  const char32_t c = text[at++];
  static constexpr TextView kNames = U"\\'\"abfnrtv";
  static constexpr TextView kMeanings = U"\\'\"\a\b\f\n\r\t\v";
  if (const size_t known = kNames.find(c); known != TextView::npos) {
    out += kMeanings[known];
  } else if (c == U'x' || c == U'u' || c == U'U') {
    const size_t digits = c == U'x' ? 2 : c == U'u' ? 4 : 8;
    uint32_t code = 0;
    for (size_t i = 0; i < digits; ++i) {
      const int value = at < text.size() ? hex_value(text[at]) : -1;
      if (value < 0) return false;
      code = code * 16 + static_cast<uint32_t>(value);
      ++at;
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return false;
    out += static_cast<char32_t>(code);
  } else if (c >= U'0' && c <= U'7') {
    char32_t code = c - U'0';
    for (int i = 0; i < 2 && at < text.size() && text[at] >= U'0' && text[at] <= U'7'; ++i) {
      code = code * 8 + (text[at++] - U'0');
    }
    out += code;
  } else if (c != U'\n') {  // (a backslash at a line's end joins two lines)
    out += U'\\';
    out += c;
  }
  return true;
}

bool read_quoted(TextView text, size_t& at, Text& out) {
  const char32_t quote = text[at++];
  while (at < text.size() && text[at] != quote) {
    if (text[at] != U'\\') {
      out += text[at++];
    } else if (++at == text.size() || !read_escape(text, at, out)) {
      return false;
    }
  }
  return at++ < text.size();
}

}  // namespace

std::optional<std::vector<Text>> parse_string_list(TextView text) {
  text = strip(text);
  if (text.size() < 2 ||
      !((text.front() == U'[' && text.back() == U']') || (text.front() == U'(' && text.back() == U')'))) {
    return std::nullopt;
  }
  text = text.substr(1, text.size() - 2);
  std::vector<Text> items;
  size_t at = 0;
  const auto skip_space = [&] { at = past_blanks(text, at); };
  for (skip_space(); at < text.size(); skip_space()) {
    Text item;
    if (text[at] == U'\'' || text[at] == U'"') {
      while (at < text.size() && (text[at] == U'\'' || text[at] == U'"')) {  // 'a' 'b' is 'ab'
        if (!read_quoted(text, at, item)) return std::nullopt;
        skip_space();
      }
    } else {
      const size_t end = std::min(text.find(U',', at), text.size());
      item = strip(text.substr(at, end - at));
      if (item.empty() || item.find_first_of(U"[](){}'\"") != Text::npos) return std::nullopt;
      at = end;
    }
    items.push_back(std::move(item));
    if (at < text.size() && text[at] != U',') return std::nullopt;
    ++at;
  }
  return items;
}

}  // namespace ropescope::eval
