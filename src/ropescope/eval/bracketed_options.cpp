#include "ropescope/eval/bracketed_options.h"

namespace ropescope::eval {

namespace {

constexpr size_t kMarkSize = 3;

bool is_mark(TextView text, size_t at, const BracketedForm& form) {
  return at + kMarkSize <= text.size() && text[at] == U'(' &&
         contains(form.letters, text.substr(at + 1, 1)) && text[at + 2] == U')';
}

/// Where the option's text ends that begins at `begin`; npos if a bracket comes first.
size_t end_of_text(TextView text, size_t begin, const BracketedForm& form) {
  for (size_t at = begin; at < text.size(); ++at) {
    const bool bracket = text[at] == U'(' || (form.closing_ends && text[at] == U')');
    if (bracket) return TextView::npos;
    if (at + 1 == text.size() || is_mark(text, past_blanks(text, at + 1), form)) return at + 1;
  }
  return TextView::npos;
}

}  // namespace

std::vector<Text> bracketed_options(TextView text, const BracketedForm& form) {
  std::vector<Text> options;
  for (size_t at = 0; at < text.size();) {
    if (!is_mark(text, at, form)) {
      ++at;
      continue;
    }
    const size_t behind = at + kMarkSize, begin = past_blanks(text, behind);
    size_t end = end_of_text(text, begin, form);
    // (an option of blanks alone is one of no text)
    if (end == TextView::npos && begin > behind) end = end_of_text(text, begin - 1, form);
    if (end == TextView::npos) {
      ++at;
      continue;
    }
    options.emplace_back(strip(text.substr(behind, end - behind)));
    at = end;
  }
  return options;
}

}  // namespace ropescope::eval
