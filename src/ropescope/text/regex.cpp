#define PCRE2_CODE_UNIT_WIDTH 8
#include "ropescope/text/regex.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include <pcre2.h>

#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

constexpr const char* kWhiteSpace =
    R"(\x{9}-\x{D}\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";
// Letters, marks, decimal and letter digits, connectors, circled and squared letters.
constexpr const char* kWord =
    R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{24B6}-\x{24E9}\x{1F130}-\x{1F149}\x{1F150}-\x{1F169}\x{1F170}-\x{1F189})";
// Outside brackets Oniguruma's \w takes these Latin-1 numbers too.
constexpr const char* kWordOutside = R"(\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE})";
constexpr const char* kHexDigit = "0-9a-fA-F";

constexpr size_t kJitStackStart = 32 * 1024;
constexpr size_t kJitStackLimit = 64 * 1024 * 1024;
constexpr uint32_t kMatchLimit = 100'000'000;

std::string pcre2_message(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof(buffer));
  return reinterpret_cast<const char*>(buffer);
}

/// Contents of the class that stands for \s, \w, \h (lower case) in PCRE2, or nullptr.
const char* class_contents(char letter) {
  switch (letter) {
    case 's':
      return kWhiteSpace;
    case 'w':
      return kWord;
    case 'h':
      return kHexDigit;
    default:
      return nullptr;
  }
}

/// Bytes of "{2,3}", "{2}", "{2,}" or "{,3}" at the start of `text`; 0 for anything else.
size_t interval_length(std::string_view text) {
  size_t at = 1;
  size_t digits = 0;
  size_t commas = 0;
  for (; at < text.size() && text[at] != '}'; ++at) {
    if (text[at] == ',') {
      ++commas;
    } else if (text[at] >= '0' && text[at] <= '9') {
      ++digits;
    } else {
      return 0;
    }
  }
  return at < text.size() && digits > 0 && commas <= 1 ? at + 1 : 0;
}

/// Rewrites a pattern piece by piece.
class PatternTranslator {
 public:
  PatternTranslator(std::string_view pattern, const std::string& what) : pattern_(pattern), what_(what) {}

  std::string translate() {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\' && at_ + 1 < pattern_.size()) {
        escape();
      } else if (in_class_) {
        inside_class();
      } else if (c == '[') {
        open_class();
      } else if (c == '(') {
        open_group();
      } else if (c == '{' && interval_length(rest()) > 0) {
        interval();
      } else {
        if (c == ')' && !groups_.empty()) {
          atom_ = groups_.back();
          groups_.pop_back();
        } else if (std::string_view("*+?").find(c) == std::string_view::npos && (c & 0xC0) != 0x80) {
          atom_ = out_.size();
        }
        out_ += c;
        ++at_;
      }
    }
    return std::move(out_);
  }

 private:
  std::string_view rest() const { return pattern_.substr(at_); }

  void copy(size_t count) {
    out_ += pattern_.substr(at_, count);
    at_ += std::min(count, pattern_.size() - at_);
  }

  [[noreturn]] void refuse(const char* reason) const {
    throw InputError("{}: the pattern \"{}\" {}, which is not supported", what_, pattern_, reason);
  }

  void escape() {
    const char letter = pattern_[at_ + 1];
    const char lower = letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
    const char* contents = class_contents(lower);
    if (!in_class_) atom_ = out_.size();
    if (contents == nullptr || (in_class_ && letter != lower)) {
      copy(2);
      // The braces of \p{L} and \x{41} are no interval.
      if (rest().substr(0, 1) == "{" && (lower == 'p' || lower == 'x')) copy(rest().find('}') + 1);
      return;
    }
    if (in_class_) {
      out_ += contents;
    } else {
      out_ += std::string(letter == lower ? "[" : "[^") + contents + (lower == 'w' ? kWordOutside : "") + "]";
    }
    at_ += 2;
  }

  void open_class() {
    in_class_ = true;
    atom_ = out_.size();
    copy(rest().substr(0, 2) == "[^" ? 2 : 1);
    // A bracket right after the opening is an ordinary character.
    if (rest().substr(0, 1) == "]") {
      ++at_;
      out_ += "\\]";
    }
  }

  void inside_class() {
    if (rest().substr(0, 2) == "&&") refuse("intersects character classes (&&)");
    if (rest().front() != '[') {
      in_class_ = rest().front() != ']';
      copy(1);
      return;
    }
    if (rest().substr(0, 2) != "[:") refuse("nests character classes");
    const size_t close = rest().find(":]");
    if (close == std::string_view::npos) {
      throw InputError("{}: the pattern \"{}\" has an unfinished [: :] class", what_, pattern_);
    }
    copy(close + 2);
  }

  /// Oniguruma's m lets . match a newline, which PCRE2 calls s; it has no s.
  void open_group() {
    groups_.push_back(out_.size());
    copy(1);
    if (rest().substr(0, 1) != "?") return;
    const size_t length = std::min(rest().find_first_not_of("imsx-", 1), rest().size());
    const std::string_view flags = rest().substr(1, length - 1);
    if (flags.empty()) return;
    if (flags.find('s') != std::string_view::npos) refuse("has the option s");
    // Oniguruma gathers the alternatives that follow such options, PCRE2 does not.
    const size_t opening = groups_.back();
    const bool first = opening == 0 || out_[opening - 1] == '(';
    if (rest().substr(length, 1) == ")" && !first) refuse("sets options in the middle");
    for (const char flag : rest().substr(0, length)) out_ += flag == 'm' ? 's' : flag;
    at_ += length;
  }

  /// "{1,3}+" repeats the interval and "{2}?" makes it optional, where PCRE2 would not give back or would be
  /// content with less.
  void interval() {
    const size_t length = interval_length(rest());
    const std::string_view text = rest().substr(0, length);
    const std::string_view after = rest().substr(length, 1);
    const bool fixed = text.find(',') == std::string_view::npos;
    const bool wrap = after == "+" || (after == "?" && fixed);
    if (wrap) out_.insert(atom_, "(?:");
    out_ += text.substr(0, 2) == "{," ? "{0" + std::string(text.substr(1)) : std::string(text);
    if (wrap) out_ += ')';
    at_ += length;
  }

  std::string_view pattern_;
  const std::string& what_;
  std::string out_;
  size_t at_ = 0;
  size_t atom_ = 0;             ///< where in out_ the last thing that can be repeated begins
  std::vector<size_t> groups_;  ///< the same for the groups that are open
  bool in_class_ = false;
};

}  // namespace

std::string pcre2_pattern(std::string_view pattern, const std::string& what) {
  return PatternTranslator(pattern, what).translate();
}

struct RegexScratch::Impl {
  pcre2_match_data* match_data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(kJitStackStart, kJitStackLimit, nullptr);

  Impl() {
    if (match_data == nullptr || context == nullptr || stack == nullptr) throw std::bad_alloc();
    pcre2_jit_stack_assign(context, nullptr, stack);
    pcre2_set_match_limit(context, kMatchLimit);
  }
  ~Impl() {
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(match_data);
  }
};

RegexScratch::RegexScratch() : impl_(std::make_unique<Impl>()) {}
RegexScratch::~RegexScratch() = default;

struct Regex::Impl {
  pcre2_code* code = nullptr;
  bool jit = false;
  std::string pattern;
  std::string what;
  ~Impl() { pcre2_code_free(code); }
};

Regex::Regex(std::string_view pattern, const std::string& what) : impl_(std::make_unique<Impl>()) {
  impl_->pattern = pattern;
  impl_->what = what;
  const std::string translated = pcre2_pattern(pattern, what);
  int error = 0;
  PCRE2_SIZE offset = 0;
  impl_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                              PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error,
                              &offset, nullptr);
  if (impl_->code == nullptr) {
    throw InputError("{}: the pattern \"{}\" is not understood: {} (at {})", what, pattern,
                     pcre2_message(error), offset);
  }
  // A PCRE2 without JIT on this processor still works, more slowly.
  impl_->jit = pcre2_jit_compile(impl_->code, PCRE2_JIT_COMPLETE) == 0;
}

Regex::~Regex() = default;

bool Regex::find(std::string_view text, size_t start, RegexScratch& scratch, size_t& begin,
                 size_t& end) const {
  const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const auto& s = *scratch.impl_;
  const int found =
      impl_->jit ? pcre2_jit_match(impl_->code, subject, text.size(), start, 0, s.match_data, s.context)
                 : pcre2_match(impl_->code, subject, text.size(), start, PCRE2_NO_UTF_CHECK, s.match_data,
                               s.context);
  if (found == PCRE2_ERROR_NOMATCH) return false;
  if (found < 0) {
    throw InputError("{}: the pattern \"{}\" gave up on this text: {}", impl_->what, impl_->pattern,
                     pcre2_message(found));
  }
  const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(s.match_data);
  begin = bounds[0];
  end = bounds[1];
  // \K inside a lookahead can put the start after the end.
  if (begin > end || begin < start) {
    throw InputError("{}: the pattern \"{}\" moves the start of its match, which is not supported",
                     impl_->what, impl_->pattern);
  }
  return true;
}

}  // namespace ropescope
