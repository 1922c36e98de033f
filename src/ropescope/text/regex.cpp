#define PCRE2_CODE_UNIT_WIDTH 8
#include "ropescope/text/regex.h"

#include <cstdint>

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

}  // namespace

std::string pcre2_pattern(std::string_view pattern, const std::string& what) {
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      const char letter = pattern[++i];
      const char lower = letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
      const char* contents = class_contents(lower);
      if (contents == nullptr || (in_class && letter != lower)) {
        out += c;
        out += letter;
      } else if (in_class) {
        out += contents;
      } else {
        out +=
            std::string(letter == lower ? "[" : "[^") + contents + (lower == 'w' ? kWordOutside : "") + "]";
      }
      continue;
    }
    if (in_class && c == '&' && pattern.substr(i, 2) == "&&") {
      throw InputError("{}: the pattern \"{}\" intersects character classes (&&), which is not supported",
                       what, pattern);
    }
    if (c == '[' && !in_class) {
      in_class = true;
      out += c;
      // A bracket right after the opening is an ordinary character.
      if (i + 1 < pattern.size() && pattern[i + 1] == '^') out += pattern[++i];
      if (i + 1 < pattern.size() && pattern[i + 1] == ']') {
        ++i;
        out += "\\]";
      }
      continue;
    }
    if (c == '[' && in_class && pattern.substr(i, 2) != "[:") {
      throw InputError("{}: the pattern \"{}\" nests character classes, which is not supported", what,
                       pattern);
    }
    if (c == '[' && in_class) {
      const size_t close = pattern.find(":]", i + 2);
      if (close == std::string_view::npos) {
        throw InputError("{}: the pattern \"{}\" has an unfinished [: :] class", what, pattern);
      }
      out += pattern.substr(i, close + 2 - i);
      i = close + 1;
      continue;
    }
    if (c == ']' && in_class) in_class = false;
    out += c;
  }
  return out;
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
