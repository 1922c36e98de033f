// Regular expressions of tokenizer files, run by PCRE2 (UTF, Unicode properties, JIT).
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace ropescope {

/// What one search needs besides the pattern; one for each thread, reusable for all patterns.
class RegexScratch {
 public:
  RegexScratch();
  ~RegexScratch();
  RegexScratch(const RegexScratch&) = delete;
  RegexScratch& operator=(const RegexScratch&) = delete;

 private:
  friend class Regex;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Immutable once built: share it between threads freely.
///
/// The files are written for Oniguruma (Hugging Face) or Rust's regex crate. Where PCRE2 reads a class in
/// another way the pattern is rewritten: \s is Unicode's White_Space (PCRE2 adds U+180E), \w is letters,
/// marks, decimal and letter digits and connectors, \h is a hexadecimal digit, ^ and $ match at every line, {1,3}+
/// repeats the interval, {2}? makes it optional, {,3} is {0,3}, the option m lets . match a newline.
class Regex {
 public:
  /// `what` names the file in errors. Throws InputError if the pattern does not compile.
  Regex(std::string_view pattern, const std::string& what);
  ~Regex();
  Regex(const Regex&) = delete;
  Regex& operator=(const Regex&) = delete;

  /// The first match at or after byte `start` of `text`, which must be valid UTF-8. Throws InputError if the
  /// pattern needs too many steps or too much memory on this text.
  bool find(std::string_view text, size_t start, RegexScratch& scratch, size_t& begin, size_t& end) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The pattern text as PCRE2 must read it; separate for tests. Throws InputError for class intersections, nested classes
/// and options that PCRE2 takes otherwise.
std::string pcre2_pattern(std::string_view pattern, const std::string& what);

}  // namespace ropescope
