#include "ropescope/text/jinja_lexer.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>

#include "ropescope/text/jinja_value.h"

namespace ropescope::jinja {

namespace {

bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool starts_name(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Python's universal newlines, and one at the end dropped.
std::string with_plain_newlines(const std::string& source) {
  std::string text;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      text += source[i];
    } else if (i + 1 == source.size() || source[i + 1] != '\n') {
      text += '\n';
    }
  }
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

void append_utf8(std::string& text, uint32_t code) {
  if (code < 0x80) {
    text += static_cast<char>(code);
  } else if (code < 0x800) {
    text += static_cast<char>(0xC0U | (code >> 6));
    text += static_cast<char>(0x80U | (code & 0x3FU));
  } else if (code < 0x10000) {
    text += static_cast<char>(0xE0U | (code >> 12));
    text += static_cast<char>(0x80U | ((code >> 6) & 0x3FU));
    text += static_cast<char>(0x80U | (code & 0x3FU));
  } else {
    text += static_cast<char>(0xF0U | (code >> 18));
    text += static_cast<char>(0x80U | ((code >> 12) & 0x3FU));
    text += static_cast<char>(0x80U | ((code >> 6) & 0x3FU));
    text += static_cast<char>(0x80U | (code & 0x3FU));
  }
}

class Lexer {
 public:
  explicit Lexer(const std::string& source) : source_(with_plain_newlines(source)) {}

  std::vector<Word> words() {
    while (at_ < source_.size()) next_tag();
    add(Word::Kind::kEnd, "");
    return std::move(words_);
  }

 private:
  std::string_view rest() const { return std::string_view(source_).substr(at_); }
  bool here(std::string_view text) const { return rest().substr(0, text.size()) == text; }
  void skip(size_t count) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(at_ + count), '\n'));
    at_ += count;
  }
  void add(Word::Kind kind, std::string text) { words_.push_back({kind, std::move(text), line_}); }
  [[noreturn]] void fail(const std::string& what) const { throw Fault("line {}: {}", line_, what); }

  /// Text up to the next tag, then the tag.
  void next_tag() {
    size_t open = at_;
    for (;; ++open) {
      open = source_.find('{', open);
      if (open == std::string::npos || open + 1 >= source_.size()) {
        open = source_.size();
        break;
      }
      const char next = source_[open + 1];
      if (next == '{' || next == '%' || next == '#') break;
    }
    std::string text = source_.substr(at_, open - at_);
    const char kind = open < source_.size() ? source_[open + 1] : ' ';
    const char sign = open + 2 < source_.size() ? source_[open + 2] : ' ';
    if (kind != ' ' && sign == '-') {
      while (!text.empty() && is_blank(text.back())) text.pop_back();
    } else if ((kind == '%' || kind == '#') && sign != '+') {
      // (lstrip_blocks: blanks between the beginning of the line and the tag)
      const size_t newline = text.rfind('\n');
      const size_t first = newline == std::string::npos ? 0 : newline + 1;
      const bool whole_line = newline != std::string::npos || line_starts_;
      if (whole_line &&
          std::all_of(text.begin() + static_cast<std::ptrdiff_t>(first), text.end(), is_blank)) {
        text.resize(first);
      }
    }
    if (!text.empty()) add(Word::Kind::kText, text);
    skip(open - at_);
    if (kind == ' ') return;
    skip(sign == '-' || sign == '+' ? 3 : 2);
    if (kind == '#') {
      comment();
    } else if (kind == '%' && raw_begins()) {
      raw();
    } else {
      add(kind == '%' ? Word::Kind::kBlockBegin : Word::Kind::kPrintBegin, "");
      tag(kind == '%' ? "%}" : "}}", kind == '%');
    }
  }

  /// Behind the end of a tag whose last character before the end was `sign`.
  void after_end(char sign, bool trims) {
    const size_t before = at_;
    if (sign == '-') {
      size_t blanks = 0;
      while (at_ + blanks < source_.size() && is_blank(source_[at_ + blanks])) ++blanks;
      skip(blanks);
    } else if (trims && sign != '+' && here("\n")) {
      skip(1);
    }
    line_starts_ = at_ > before && source_[at_ - 1] == '\n';
  }

  void comment() {
    const size_t end = source_.find("#}", at_);
    if (end == std::string::npos) fail("a comment has no end");
    const char sign = end > at_ ? source_[end - 1] : ' ';
    skip(end + 2 - at_);
    after_end(sign, /*trims=*/true);
  }

  bool raw_begins() const {
    size_t i = at_;
    while (i < source_.size() && is_blank(source_[i])) ++i;
    return source_.compare(i, 3, "raw") == 0 && i + 3 < source_.size() &&
           (is_blank(source_[i + 3]) || source_[i + 3] == '-' || source_[i + 3] == '%');
  }

  void raw() {
    const size_t first = source_.find("%}", at_);
    const size_t end = first == std::string::npos ? first : source_.find("endraw", first);
    const size_t open = end == std::string::npos ? end : source_.rfind("{%", end);
    const size_t close =
        open == std::string::npos || open < first ? std::string::npos : source_.find("%}", end);
    if (close == std::string::npos) fail("{% raw %} has no end");
    const char begin_sign = source_[first - 1];
    skip(first + 2 - at_);
    after_end(begin_sign, /*trims=*/true);
    if (at_ < open) {
      std::string text = source_.substr(at_, open - at_);
      if (source_[open + 2] == '-') {
        while (!text.empty() && is_blank(text.back())) text.pop_back();
      }
      add(Word::Kind::kText, text);
    }
    const char end_sign = source_[close - 1];
    skip(close + 2 - at_);
    after_end(end_sign, /*trims=*/true);
  }

  void tag(std::string_view end, bool block) {
    std::string open;  // brackets
    for (;;) {
      while (at_ < source_.size() && is_blank(source_[at_])) skip(1);
      if (at_ >= source_.size()) fail("a tag has no end");
      const char c = source_[at_];
      if (open.empty()) {
        const bool signed_end = (c == '-' || c == '+') && source_.compare(at_ + 1, 2, end) == 0;
        if (signed_end || here(end)) {
          add(block ? Word::Kind::kBlockEnd : Word::Kind::kPrintEnd, "");
          skip(signed_end ? 3 : 2);
          after_end(signed_end ? c : ' ', block);
          return;
        }
      }
      if (starts_name(c)) {
        size_t length = 1;
        while (length < rest().size() && (starts_name(rest()[length]) || is_digit(rest()[length]))) ++length;
        add(Word::Kind::kName, std::string(rest().substr(0, length)));
        skip(length);
      } else if (is_digit(c)) {
        number();
      } else if (c == '"' || c == '\'') {
        string(c);
      } else {
        sign(open);
      }
    }
  }

  void number() {
    size_t length = 0;
    bool real = false;
    while (length < rest().size()) {
      const char c = rest()[length];
      const char next = length + 1 < rest().size() ? rest()[length + 1] : ' ';
      if (c == '.' && !real && is_digit(next)) {
        real = true;
      } else if (!is_digit(c) && c != '_') {
        break;
      }
      ++length;
    }
    std::string text(rest().substr(0, length));
    text.erase(std::remove(text.begin(), text.end(), '_'), text.end());
    if (text.size() > 18) fail("a number has too many digits");
    add(real ? Word::Kind::kFloat : Word::Kind::kNumber, text);
    skip(length);
  }

  void string(char quote) {
    const int line = line_;
    skip(1);
    std::string text;
    while (at_ < source_.size() && source_[at_] != quote) {
      if (source_[at_] == '\\' && at_ + 1 < source_.size()) {
        escape(text);
      } else {
        text += source_[at_];
        skip(1);
      }
    }
    if (at_ >= source_.size()) throw Fault("line {}: a text has no closing quote", line);
    skip(1);
    add(Word::Kind::kString, text);
  }

  void escape(std::string& text) {
    static constexpr std::string_view kNames("ntrabfv0\\'\"", 11), kMeant("\n\t\r\a\b\f\v\0\\'\"", 11);
    const char c = source_[at_ + 1];
    if (c == '\n') return skip(2);
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (digits > 0) {
      const std::string_view hex = rest().substr(2, digits);
      uint32_t code = 0;
      for (const char digit : hex) {
        if (std::isxdigit(static_cast<unsigned char>(digit)) == 0) fail("a \\x or \\u has too few digits");
        const int value = is_digit(digit) ? digit - '0' : std::tolower(digit) - 'a' + 10;
        code = code * 16 + static_cast<uint32_t>(value);
      }
      if (hex.size() < digits || code > 0x10FFFF) fail("a \\x or \\u names no character");
      append_utf8(text, code);
      return skip(2 + digits);
    }
    const size_t known = kNames.find(c);
    if (known == std::string_view::npos) text += '\\';
    text += known == std::string_view::npos ? c : kMeant[known];
    skip(2);
  }

  void sign(std::string& open) {
    static constexpr std::array<std::string_view, 8> kLong = {"**", "//", "==", "!=", "<=", ">=", "&&", "||"};
    for (const std::string_view text : kLong) {
      if (here(text)) {
        add(Word::Kind::kSign, std::string(text));
        return skip(text.size());
      }
    }
    const char c = source_[at_];
    if (std::string_view("+-*/%~<>=|.,:()[]{}").find(c) == std::string_view::npos) {
      fail(fmt::format("unexpected character \"{}\"", c));
    }
    if (c == '(' || c == '[' || c == '{') open += c;
    if (c == ')' || c == ']' || c == '}') {
      if (open.empty()) fail(fmt::format("unexpected \"{}\"", c));
      open.pop_back();
    }
    add(Word::Kind::kSign, std::string(1, c));
    skip(1);
  }

  std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starts_ = true;
  std::vector<Word> words_;
};

}  // namespace

std::vector<Word> template_words(const std::string& source) { return Lexer(source).words(); }

}  // namespace ropescope::jinja
