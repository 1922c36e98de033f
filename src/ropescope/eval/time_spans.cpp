#include "ropescope/eval/time_spans.h"

#include <algorithm>
#include <array>
#include <vector>

namespace ropescope::eval {

namespace {

constexpr TextView kHyphen = U"-", kDashes = U"-–";

Text normalised(TextView output) {
  const Text lowered = lower(output);
  return replace_all(replace_all(lowered, U"a specific example is : 20.8 - 30.0 seconds", U""), U"to", U"-");
}

std::vector<TextView> sentences_of(TextView text) {
  std::vector<TextView> sentences;
  size_t begin = 0;
  for (size_t at = 0; at <= text.size(); ++at) {
    if (at < text.size() && !contains(U"!?\n", text.substr(at, 1))) continue;
    sentences.push_back(text.substr(begin, at - begin));
    begin = at + 1;
  }
  return sentences;
}

std::vector<TextView> telling(const std::vector<TextView>& sentences) {
  std::vector<TextView> chosen;
  for (const TextView sentence : sentences) {
    const auto has = [&](TextView word) { return contains(sentence, word); };
    if (has(U"start") || has(U"end") || has(U"happen")) chosen.push_back(sentence);
  }
  return chosen;
}

size_t digits_from(TextView text, size_t at) {
  size_t end = at;
  while (end < text.size() && is_digit(text[end])) ++end;
  return end - at;
}

/// Behind the digits at `at`: a dot and more digits, if there are any. `loose`: any number of dots, and digits or none.
size_t number_end(TextView text, size_t at, bool loose) {
  size_t end = at + digits_from(text, at);
  if (loose) {
    while (end < text.size() && text[end] == U'.') ++end;
    return end + digits_from(text, end);
  }
  if (end + 1 < text.size() && text[end] == U'.' && is_digit(text[end + 1]))
    end += 1 + digits_from(text, end + 1);
  return end;
}

struct DashRule {
  TextView dashes;
  bool loose = false;    ///< numbers as number_end says
  bool seconds = false;  ///< an "s" may stand between the first number and the dash
};

std::optional<Span> ordered(std::optional<double> a, std::optional<double> b) {
  if (!a || !b) return std::nullopt;
  return *b > *a ? Span{*a, *b} : Span{*b, *a};
}

/// The first "number - number". (No number can end earlier than at its last digit: a dash or blank must follow.)
struct DashedNumbers {
  bool found = false;
  std::optional<Span> span;  ///< none where the text is no number ("1..2")
};
DashedNumbers dashed_numbers(TextView text, const DashRule& rule) {
  for (size_t begin = 0; begin < text.size(); ++begin) {
    if (!is_digit(text[begin])) continue;
    const size_t end = number_end(text, begin, rule.loose);
    size_t at = end;
    at = past_blanks(text, at);
    if (rule.seconds && at < text.size() && text[at] == U's') {
      ++at;
      at = past_blanks(text, at);
    }
    if (at >= text.size() || rule.dashes.find(text[at]) == TextView::npos) continue;
    ++at;
    at = past_blanks(text, at);
    if (at >= text.size() || !is_digit(text[at])) continue;
    return {true, ordered(parse_float(text.substr(begin, end - begin)),
                          parse_float(text.substr(at, number_end(text, at, rule.loose) - at)))};
  }
  return {};
}

/// A clock time, h:mm:ss or m:ss, and where it ends.
struct Clock {
  double seconds = 0;
  size_t end = 0;
};

double two_digits(TextView digits) { return parse_float(digits).value_or(0); }

/// With `bounded` a word boundary must follow, and where it does not follow the seconds they may be left out.
std::optional<Clock> clock_at(TextView text, size_t at, bool bounded) {
  if (!is_word_boundary(text, at)) return std::nullopt;
  const size_t head = digits_from(text, at);
  if (head < 1 || head > 2) return std::nullopt;
  const auto pair_at = [&](size_t colon) {
    return colon < text.size() && text[colon] == U':' && digits_from(text, colon + 1) >= 2;
  };
  const size_t middle = at + head;
  if (!pair_at(middle)) return std::nullopt;
  const double first = two_digits(text.substr(at, head)), second = two_digits(text.substr(middle + 1, 2));
  const size_t behind = middle + 3;
  if (pair_at(behind) && (!bounded || is_word_boundary(text, behind + 3))) {
    return Clock{first * 3600 + second * 60 + two_digits(text.substr(behind + 1, 2)), behind + 3};
  }
  if (bounded && !is_word_boundary(text, behind)) return std::nullopt;
  return Clock{first * 60 + second, behind};
}

std::optional<Span> dashed_clocks(TextView text) {
  for (size_t begin = 0; begin < text.size(); ++begin) {
    const auto from = clock_at(text, begin, /*bounded=*/false);
    if (!from) continue;
    size_t at = from->end;
    at = past_blanks(text, at);
    if (at >= text.size() || kDashes.find(text[at]) == TextView::npos) continue;
    ++at;
    at = past_blanks(text, at);
    // (what precedes it is a dash or a blank, so a boundary is there)
    const auto until = at < text.size() ? clock_at(text, at, /*bounded=*/true) : std::nullopt;
    if (until) return ordered(from->seconds, until->seconds);
  }
  return std::nullopt;
}

std::optional<Span> first_clocks(const std::vector<TextView>& sentences) {
  std::vector<double> times;
  for (const TextView sentence : sentences) {
    for (size_t at = 0; at < sentence.size();) {
      const auto clock = clock_at(sentence, at, /*bounded=*/true);
      if (clock) times.push_back(clock->seconds);
      at = clock ? clock->end : at + 1;
    }
  }
  if (times.size() < 2) return std::nullopt;
  return ordered(times[0], times[1]);
}

/// The first number that stands as a word; of "0.8s" that is 0.
std::optional<double> number_word(TextView text) {
  for (size_t at = 0; at < text.size(); ++at) {
    if (!is_digit(text[at]) || !is_word_boundary(text, at)) continue;
    for (const size_t end : {number_end(text, at, false), at + digits_from(text, at)}) {
      if (is_word_boundary(text, end)) return parse_float(text.substr(at, end - at));
    }
  }
  return std::nullopt;
}

std::optional<Span> number_a_sentence(const std::vector<TextView>& sentences) {
  std::vector<double> times;
  for (const TextView sentence : sentences) {
    if (const auto number = number_word(sentence)) times.push_back(*number);
  }
  if (times.size() < 2) return std::nullopt;
  return ordered(times[0], times[1]);
}

}  // namespace

std::optional<Span> read_span(TextView output) {
  const Text text = normalised(output);
  const std::vector<TextView> all = sentences_of(text);
  std::vector<TextView> sentences = telling(all);
  if (sentences.empty()) sentences = all;
  for (const TextView sentence : sentences) {
    if (const auto span = dashed_clocks(sentence)) return span;
  }
  for (const TextView sentence : sentences) {
    if (const auto numbers = dashed_numbers(sentence, {kDashes}); numbers.found) return numbers.span;
  }
  if (const auto span = first_clocks(sentences)) return span;
  if (const auto span = number_a_sentence(sentences)) return span;
  for (const TextView sentence : sentences) {
    const auto numbers = dashed_numbers(sentence, {kDashes, /*loose=*/false, /*seconds=*/true});
    if (numbers.found) return numbers.span;
  }
  return std::nullopt;
}

std::optional<Span> read_span_of_2025(TextView output) {
  const Text text = normalised(output);
  if (const auto numbers = dashed_numbers(text, {kHyphen, /*loose=*/true}); numbers.found)
    return numbers.span;
  return number_a_sentence(telling(sentences_of(text)));
}

double span_iou(const Span& a, const Span& b) {
  const double whole = std::max(a[1], b[1]) - std::min(a[0], b[0]);
  return whole > 0 ? std::max(std::min(a[1], b[1]) - std::max(a[0], b[0]), 0.0) / whole : 0;
}

}  // namespace ropescope::eval
