#include "ropescope/eval/vqa_text.h"

#include <algorithm>

#include "ropescope/core/errors.h"

namespace ropescope::eval {

namespace {

/// (\d)(,+)(\d), or with exactly one comma.
bool has_comma_between_digits(TextView text, bool runs) {
  for (size_t i = 1; i < text.size(); ++i) {
    if (text[i] != U',' || !is_digit(text[i - 1])) continue;
    size_t end = i + 1;
    while (runs && end < text.size() && text[end] == U',') ++end;
    if (end < text.size() && is_digit(text[end])) return true;
  }
  return false;
}

Text without_dots(TextView text, VqaPunctuation dialect) {
  // The reference passes a flag of the value 32 where the number of replacements belongs.
  constexpr int kMostDots = 32;
  Text out;
  int deleted = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool digit_after = i + 1 < text.size() && is_digit(text[i + 1]);
    const bool digit_before = i > 0 && is_digit(text[i - 1]);
    const bool kept = digit_after || (dialect == VqaPunctuation::kDigitsAround && digit_before);
    if (text[i] == U'.' && !kept && deleted < kMostDots) {
      ++deleted;
    } else {
      out += text[i];
    }
  }
  return out;
}

const std::unordered_map<Text, Text>& number_words(VqaNumbers numbers) {
  static const std::unordered_map<Text, Text> to_ten = {{U"none", U"0"},  {U"zero", U"0"},  {U"one", U"1"},
                                                        {U"two", U"2"},   {U"three", U"3"}, {U"four", U"4"},
                                                        {U"five", U"5"},  {U"six", U"6"},   {U"seven", U"7"},
                                                        {U"eight", U"8"}, {U"nine", U"9"},  {U"ten", U"10"}};
  static const std::unordered_map<Text, Text> to_ninety = [] {
    auto all = to_ten;
    all.erase(U"none");
    all.insert({{U"eleven", U"11"},
                {U"twelve", U"12"},
                {U"thirteen", U"13"},
                {U"fourteen", U"14"},
                {U"fifteen", U"15"},
                {U"sixteen", U"16"},
                {U"seventeen", U"17"},
                {U"eighteen", U"18"},
                {U"nineteen", U"19"},
                {U"twenty", U"20"},
                {U"thirty", U"30"},
                {U"forty", U"40"},
                {U"fifty", U"50"},
                {U"sixty", U"60"},
                {U"seventy", U"70"},
                {U"eighty", U"80"},
                {U"ninety", U"90"}});
    return all;
  }();
  return numbers == VqaNumbers::kToTen ? to_ten : to_ninety;
}

}  // namespace

Text vqa_punctuation(TextView text, VqaPunctuation dialect) {
  static constexpr TextView kCharacters = U";/[]\"{}()=+\\_-><@`,?!";
  const bool numbers = has_comma_between_digits(text, dialect == VqaPunctuation::kHarness);
  Text out(text);
  for (const char32_t c : kCharacters) {
    const bool deleted = numbers || contains(text, Text{c, U' '}) || contains(text, Text{U' ', c});
    if (deleted) {
      out.erase(std::remove(out.begin(), out.end(), c), out.end());
    } else {
      std::replace(out.begin(), out.end(), c, U' ');
    }
  }
  return without_dots(out, dialect);
}

Text vqa_digits_articles(TextView text, VqaNumbers numbers) {
  const auto& words = number_words(numbers);
  const auto& contractions = vqa_contractions();
  std::vector<Text> out;
  for (Text& part : split(lower(text))) {
    const auto number = words.find(part);
    if (number != words.end()) part = number->second;
    if (part == U"a" || part == U"an" || part == U"the") continue;
    const auto contraction = contractions.find(part);
    out.push_back(contraction == contractions.end() ? part : contraction->second);
  }
  return join(out, U" ");
}

Text vqa_words(TextView text) {
  Text out = lower(text);
  out.erase(std::remove_if(out.begin(), out.end(), [](char32_t c) { return c == U',' || c == U'?'; }),
            out.end());
  return Text(strip(replace_all(out, U"'s", U" 's")));
}

Text vqa_one_line(TextView text) {
  Text out(text);
  for (char32_t& c : out) {
    if (c == U'\n' || c == U'\t') c = U' ';
  }
  return Text(strip(out));
}

double vqa_accuracy(const Text& output, const std::vector<Text>& answers) {
  if (answers.empty()) return 0;
  const auto matches = std::count(answers.begin(), answers.end(), output);
  double sum = 0;
  for (const Text& answer : answers) {
    const auto others = matches - (answer == output ? 1 : 0);
    sum += std::min(1.0, static_cast<double>(others) / 3.0);
  }
  return sum / static_cast<double>(answers.size());
}

std::vector<Text> vqa_answers(const Json& doc) {
  const auto found = doc.find("answers");
  if (found == doc.end() || !found->is_array()) throw InputError("doc: \"answers\": expected a list");
  std::vector<Text> answers;
  for (const Json& answer : *found) {
    const Json* text = &answer;
    if (answer.is_object() && answer.contains("answer")) text = &answer["answer"];
    if (!text->is_string()) throw InputError("doc: \"answers\": expected strings or records with \"answer\"");
    answers.push_back(from_utf8(text->get<std::string>()));
  }
  return answers;
}

void check_vqa_answers(const Json& doc) {
  if (vqa_answers(doc).empty()) throw InputError("doc: \"answers\": expected an answer, found none");
}

}  // namespace ropescope::eval
