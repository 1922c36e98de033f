// Text as the scoring scripts of the benchmarks see it: a sequence of code points, with the Unicode rules of
// Python's str and re. Scores depend on them: lengths count code points, `\w` covers Unicode letters, and a
// no-break space is white space. Character data come from ICU.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ropescope::eval {

using Text = std::u32string;
using TextView = std::u32string_view;

/// UTF-8 to code points; broken bytes become U+FFFD.
Text from_utf8(std::string_view utf8);
std::string to_utf8(TextView text);

/// str.isspace of one character, which is also re's \s.
bool is_space(char32_t c);
/// re's \w: letters, everything with a numeric value, and `_`. (Combining marks are not part of it.)
bool is_word(char32_t c);
/// re's \d: decimal digits of any script.
bool is_digit(char32_t c);
bool is_letter(char32_t c);
bool is_upper(char32_t c);
/// re's \b between text[i - 1] and text[i].
bool is_word_boundary(TextView text, size_t i);

/// The first place from `at` on that is no white space, or the end: re's \s*.
size_t past_blanks(TextView text, size_t at);

/// Full case mappings: "ß" has two upper-case letters.
Text lower(TextView text);
Text upper(TextView text);
/// The first character in title case, all others lowered.
Text capitalise(TextView text);

TextView strip(TextView text);
TextView strip_any(TextView text, TextView characters);
/// At runs of white space, without empty parts.
std::vector<Text> split(TextView text);
Text join(const std::vector<Text>& parts, TextView separator);
Text replace_all(TextView text, TextView what, TextView by);
bool contains(TextView text, TextView part);

/// float(text): blanks around, sign, `.5`, `12.`, `1e3`, `1_000`, nan, inf, digits of any script; none where
/// Python raises ValueError.
std::optional<double> parse_float(TextView text);

/// ast.literal_eval of a list or tuple of strings (numbers and None are kept as written); none for other
/// texts.
std::optional<std::vector<Text>> parse_string_list(TextView text);

}  // namespace ropescope::eval
