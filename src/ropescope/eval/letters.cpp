#include "ropescope/eval/letters.h"

#include <algorithm>
#include <array>

namespace ropescope::eval {

namespace {

/// The greatest of (priority, position), the first collected where both agree.
class BestCandidate {
 public:
  void offer(char32_t letter, size_t position, int priority) {
    if (letter_ && (priority < priority_ || (priority == priority_ && position <= position_))) return;
    letter_ = letter;
    position_ = position;
    priority_ = priority;
  }
  std::optional<char32_t> letter() const { return letter_; }

 private:
  std::optional<char32_t> letter_;
  size_t position_ = 0;
  int priority_ = 0;
};

constexpr int kStart = 10, kEnd = 9, kPhrase = 7, kParentheses = 6, kPeriod = 5, kColon = 4, kRightParen = 3,
              kSpace = 2, kFallback = 0;

const std::vector<Text>& answer_phrases() {
  static const std::vector<Text> all = [] {
    std::vector<Text> phrases;
    for (const TextView stem :
         {TextView(U"answer is"), TextView(U"correct answer is"), TextView(U"best answer is"),
          TextView(U"correct option is"), TextView(U"best option is"), TextView(U"choice is"),
          TextView(U"correct choice is")}) {
      phrases.push_back(U"the " + Text(stem));
      phrases.emplace_back(stem);
    }
    for (const TextView phrase :
         {TextView(U"i choose"), TextView(U"i select"), TextView(U"i pick"), TextView(U"my answer is"),
          TextView(U"my choice is"), TextView(U"옵션"), TextView(U"정답은"), TextView(U"답은"),
          TextView(U"답:"), TextView(U"答案是"), TextView(U"答案为"), TextView(U"选"), TextView(U"答えは")}) {
      phrases.emplace_back(phrase);
    }
    return phrases;
  }();
  return all;
}

void offer_forms(TextView padded, TextView letters, BestCandidate& best) {
  struct Form {
    TextView before, after;
    int priority;
  };
  static constexpr std::array<Form, 5> kForms = {{{U"(", U")", kParentheses},
                                                  {U"", U".", kPeriod},
                                                  {U"", U":", kColon},
                                                  {U"", U")", kRightParen},
                                                  {U"", U" ", kSpace}}};
  for (const Form& form : kForms) {
    for (const char32_t letter : letters) {
      const size_t at = padded.rfind(Text(form.before) + letter + Text(form.after));
      if (at != TextView::npos) best.offer(letter, at, form.priority);
    }
  }
}

void offer_phrases(TextView padded, TextView letters, BestCandidate& best) {
  const Text lowered = lower(padded);
  for (const Text& phrase : answer_phrases()) {
    const size_t at = lowered.find(phrase);
    if (at == Text::npos) continue;
    for (const char32_t letter : letters) {
      const size_t behind = padded.find(letter, at + phrase.size());
      if (behind != TextView::npos) best.offer(letter, behind, kPhrase);
    }
  }
}

}  // namespace

std::optional<char32_t> extract_choice(TextView output, TextView letters) {
  if (letters.empty()) letters = U"ABCDEFGH";
  TextView text = strip(output);
  if (text.empty()) return std::nullopt;
  for (const char32_t c : TextView(U",.!?;:'\"")) text = strip_any(text, TextView(&c, 1));
  const Text padded = U" " + Text(text) + U" ";
  BestCandidate best;
  offer_forms(padded, letters, best);
  offer_phrases(padded, letters, best);
  text = strip(text);
  for (const char32_t letter : letters) {
    if (text.empty()) break;
    if (text.front() == letter && (text.size() == 1 || !is_letter(text[1]))) best.offer(letter, 0, kStart);
    if (text.back() == letter && (text.size() == 1 || !is_letter(text[text.size() - 2]))) {
      best.offer(letter, text.size() - 1, kEnd);
    }
  }
  if (best.letter()) return best.letter();
  for (const char32_t letter : letters) {
    const size_t at = padded.rfind(letter);
    if (at != Text::npos) best.offer(letter, at, kFallback);
  }
  return best.letter();
}

std::optional<char32_t> mmbench_option_rule(TextView output) {
  static constexpr TextView kLetters = U"ABCDE";
  const std::vector<Text> parts = split(output);
  const auto has = [&](const Text& part) {
    return std::find(parts.begin(), parts.end(), part) != parts.end();
  };
  const auto only = [&](TextView before, TextView after) {
    std::optional<char32_t> found;
    for (const char32_t letter : kLetters) {
      if (!has(Text(before) + letter + Text(after))) continue;
      if (found) return std::optional<char32_t>();
      found = letter;
    }
    return found;
  };
  // With four or more parts a lone "A" may be an article.
  const std::optional<char32_t> bare = only(U"", U"");
  if (bare && !(has(U"A") && parts.size() > 3)) return bare;
  static constexpr std::array<std::array<TextView, 2>, 12> kForms = {{{U"", U"."},
                                                                      {U"", U","},
                                                                      {U"", U":"},
                                                                      {U"", U")"},
                                                                      {U"", U")."},
                                                                      {U"(", U")"},
                                                                      {U"(", U")."},
                                                                      {U":", U""},
                                                                      {U":", U","},
                                                                      {U":", U"."},
                                                                      {U":", U")"},
                                                                      {U":", U")."}}};
  for (const auto& [before, after] : kForms) {
    if (const auto letter = only(before, after)) return letter;
  }
  return std::nullopt;
}

std::optional<char32_t> mmbench_text_rule(TextView output, const std::vector<Option>& options) {
  const Text lowered = lower(output);
  std::optional<char32_t> found;
  for (const Option& option : options) {
    if (!contains(lowered, lower(option.text))) continue;
    if (found) return std::nullopt;
    found = option.letter;
  }
  return found;
}

std::optional<char32_t> mmmu_choice(TextView output, const std::vector<Option>& options) {
  for (const char32_t c : TextView(U",.!?;:'")) output = strip_any(output, TextView(&c, 1));
  const Text padded = U" " + Text(output) + U" ";
  const Text lowered = lower(padded);
  enum class Kind { kBrackets, kLetter, kText };
  std::vector<const Option*> candidates;
  const auto collect = [&](TextView before, TextView after) {
    for (const Option& option : options) {
      if (contains(padded, Text(before) + option.letter + Text(after))) candidates.push_back(&option);
    }
  };
  Kind kind = Kind::kBrackets;
  collect(U"(", U")");
  if (candidates.empty()) {
    kind = Kind::kLetter;
    collect(U"", U" ");
  }
  if (candidates.empty()) collect(U"", U".");
  if (candidates.empty() && split(padded).size() > 5) {
    kind = Kind::kText;
    for (const Option& option : options) {
      if (contains(lowered, lower(option.text))) candidates.push_back(&option);
    }
  }
  if (candidates.empty()) return std::nullopt;
  // The last one counts; what is not there in this form stands at -1, and ties go to the first.
  const auto last_position = [&](const Option& option) {
    size_t at = 0;
    switch (kind) {
      case Kind::kBrackets:
        at = padded.rfind(Text{U'(', option.letter, U')'});
        break;
      case Kind::kLetter:
        at = padded.rfind(Text{U' ', option.letter, U' '});
        break;
      case Kind::kText:
        at = lowered.rfind(lower(option.text));
        break;
    }
    return at == Text::npos ? int64_t{-1} : static_cast<int64_t>(at);
  };
  const Option* best = candidates.front();
  for (const Option* candidate : candidates) {
    if (last_position(*candidate) > last_position(*best)) best = candidate;
  }
  return best->letter;
}

}  // namespace ropescope::eval
