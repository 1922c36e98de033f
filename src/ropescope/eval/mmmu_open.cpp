#include "ropescope/eval/mmmu_open.h"

#include <array>
#include <cstdio>
#include <cstdlib>

#include "ropescope/text/regex.h"

namespace ropescope::eval {

namespace {

/// Python's round(x, 2): the nearest decimal of the exact binary value.
double round_2(double value) {
  std::array<char, 400> digits{};
  std::snprintf(digits.data(), digits.size(), "%.2f", value);
  return std::strtod(digits.data(), nullptr);
}

std::vector<OpenAnswer> normal_forms(TextView text) {
  text = strip(text);
  const Text plain = replace_all(text, U",", U"");
  if (const auto number = parse_float(plain)) return {round_2(*number)};
  const Text lowered = lower(text);
  // (one letter must not match inside a word)
  if (lowered.size() == 1) return {U" " + lowered, lowered + U" "};
  return {lowered};
}

/// The shortest end of a line behind one of the words that announce an answer.
Text key_part(const Text& line, bool last_line) {
  static constexpr std::array<TextView, 9> kAnnouncing = {
      U"could be ", U"so ", U"is ", U"thus ", U"therefore ", U"final ", U"answer ", U"result ", U"="};
  Text shortest;
  for (const TextView word : kAnnouncing) {
    if (word == U"=" && !last_line) continue;
    const size_t at = line.rfind(word);
    if (at == Text::npos) continue;
    const Text rest(strip(TextView(line).substr(at + word.size())));
    if (shortest.empty() || rest.size() < shortest.size()) shortest = rest;
  }
  return shortest;
}

std::vector<Text> key_parts(TextView output) {
  const Text text = lower(strip_any(strip(output), U"."));
  std::vector<Text> parts;
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t end = std::min(text.find(U'\n', begin), text.size());
    const Text part = key_part(text.substr(begin, end - begin), end == text.size());
    if (!part.empty() && !(part.size() == 1 && contains(U":,.!?;'", part))) parts.push_back(part);
    begin = end + 1;
  }
  return parts.empty() ? std::vector<Text>{text} : parts;
}

std::vector<Text> numbers_in(const Text& text) {
  static const std::array<Regex, 3> patterns = {
      Regex(R"(-?\b\d{1,3}(?:,\d{3})+\b)", "MMMU"), Regex(R"(-?\d+(?:\.\d+)?[eE][+-]?\d+)", "MMMU"),
      Regex(R"(-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d]))", "MMMU")};
  const std::string utf8 = to_utf8(text);
  RegexScratch scratch;
  std::vector<Text> numbers;
  for (const Regex& pattern : patterns) {
    size_t begin = 0, end = 0;
    for (size_t from = 0; pattern.find(utf8, from, scratch, begin, end); from = end) {
      numbers.push_back(from_utf8(utf8.substr(begin, end - begin)));
    }
  }
  return numbers;
}

}  // namespace

std::set<OpenAnswer> mmmu_open_answers(TextView output) {
  std::set<OpenAnswer> answers;
  const auto add = [&](TextView text) {
    for (const OpenAnswer& answer : normal_forms(text)) answers.insert(answer);
  };
  for (const Text& part : key_parts(output)) {
    add(part);
    for (const Text& number : numbers_in(part)) add(number);
  }
  return answers;
}

bool mmmu_open_right(const std::set<OpenAnswer>& answers, const std::vector<Text>& gold) {
  std::vector<OpenAnswer> right;
  for (const Text& text : gold) {
    for (const OpenAnswer& answer : normal_forms(text)) right.push_back(answer);
  }
  for (const OpenAnswer& answer : answers) {
    for (const OpenAnswer& wanted : right) {
      if (answer.index() != wanted.index()) continue;
      if (answer == wanted) return true;
      if (answer.index() == 1 && contains(std::get<Text>(answer), std::get<Text>(wanted))) return true;
    }
  }
  return false;
}

}  // namespace ropescope::eval
