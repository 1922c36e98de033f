#include "ropescope/eval/math_answer.h"

#include <cmath>
#include <cstdlib>
#include <initializer_list>

#include <fmt/format.h>

#include "ropescope/eval/python_numbers.h"

namespace ropescope::eval {

namespace {

Text without(Text text, std::initializer_list<TextView> parts) {
  for (const TextView part : parts) text = replace_all(text, part, U"");
  return text;
}

/// What stands behind the last of `mark`.
Text behind_last(const Text& text, TextView mark) {
  const size_t at = text.rfind(mark);
  return at == Text::npos ? text : text.substr(at + mark.size());
}

/// The same where there is exactly one.
Text behind_only(const Text& text, TextView mark) {
  return text.find(mark) == text.rfind(mark) ? behind_last(text, mark) : text;
}

std::vector<Text> pieces_of(const Text& text, TextView mark) {
  std::vector<Text> pieces;
  size_t from = 0;
  for (size_t at = text.find(mark); at != Text::npos; at = text.find(mark, from)) {
    pieces.push_back(text.substr(from, at - from));
    from = at + mark.size();
  }
  pieces.push_back(text.substr(from));
  return pieces;
}

/// \sqrt3 becomes \sqrt{3}.
Text with_braced_roots(const Text& text) {
  const std::vector<Text> pieces = pieces_of(text, U"\\sqrt");
  Text out = pieces[0];
  for (size_t i = 1; i < pieces.size(); ++i) {
    const Text& piece = pieces[i];
    const bool bare = !piece.empty() && piece[0] != U'{';
    out += U"\\sqrt" + (bare ? U"{" + piece.substr(0, 1) + U"}" + piece.substr(1) : piece);
  }
  return out;
}

/// \frac12 becomes \frac{1}{2}; a text with a \frac that lacks its two parts stays as it is.
Text with_braced_fractions(const Text& text) {
  const std::vector<Text> pieces = pieces_of(text, U"\\frac");
  Text out = pieces[0];
  for (size_t i = 1; i < pieces.size(); ++i) {
    const Text& piece = pieces[i];
    out += U"\\frac";
    if (!piece.empty() && piece[0] == U'{') {
      out += piece;
      continue;
    }
    if (piece.size() < 2) return text;
    out += U"{" + piece.substr(0, 1) + U"}";
    out += piece[1] == U'{' ? piece.substr(1) : U"{" + piece.substr(1, 1) + U"}" + piece.substr(2);
  }
  return out;
}

/// 3/4 of whole numbers becomes \frac{3}{4}.
Text with_fraction_for_slash(const Text& text) {
  const std::vector<Text> parts = pieces_of(text, U"/");
  if (parts.size() != 2) return text;
  const auto above = python_int(parts[0]), below = python_int(parts[1]);
  if (!above || !below || from_utf8(*above + "/" + *below) != text) return text;
  return U"\\frac{" + parts[0] + U"}{" + parts[1] + U"}";
}

Text plain_formula(Text text) {
  text = replace_all(without(std::move(text), {U"\n", U"\\!"}), U"\\\\", U"\\");
  text = replace_all(replace_all(text, U"tfrac", U"frac"), U"dfrac", U"frac");
  text = without(std::move(text), {U"\\left", U"\\right", U"^{\\circ}", U"^\\circ", U"\\$", U"$"});
  text = text.substr(0, text.find(U"\\text{ "));
  text = without(std::move(text), {U"\\%"});
  text = replace_all(replace_all(text, U" .", U" 0."), U"{.", U"{0.");
  if (text.empty()) return text;
  if (text[0] == U'.') text = U"0" + text;
  text = behind_only(behind_only(text, U"="), U"\\approx");
  if (contains(text, U"sqrt")) text = with_braced_roots(text);
  text = without(std::move(text), {U" "});
  if (contains(text, U"sqrt")) text = with_braced_fractions(text);
  if (text == U"0.5") text = U"\\frac{1}{2}";
  return with_fraction_for_slash(text);
}

}  // namespace

Text math_answer(TextView output) {
  Text text = without(lower(output), {U"{}"});
  constexpr TextView kBox = U"oxed{";
  const size_t box = text.find(kBox), last = text.rfind(U'}');
  if (box != Text::npos && last != Text::npos && last >= box + kBox.size()) {
    text = text.substr(box + kBox.size(), last - box - kBox.size());
  }
  const size_t close = text.find(U'}'), open = text.find(U'{');
  if (close != Text::npos && (open == Text::npos || close < open)) text = text.substr(0, close);
  text = behind_last(behind_last(text, U"="), U"\\approx");
  text = replace_all(without(std::move(text), {U" ", U"\\,"}), U"\u221E", U"\\infty");
  text = replace_all(replace_all(text, U"+\\infty", U"\\infty"), U"\\\\", U"\\");
  text = replace_all(without(std::move(text), {U"\n", U"\\text", U"\\mbox"}), U"bmatrix", U"pmatrix");
  text = without(std::move(text), {U"\\left", U"\\right", U"^{\\circ}", U"^\\circ", U"{m}^3", U"m^3",
                                   U"{units}", U"units", U"{km}", U"km"});
  return plain_formula(std::move(text));
}

namespace {

std::string value_text(const MathValue& value) {
  constexpr int64_t kDecimals = 2;
  return value.whole ? fmt::format("{:.0f}", value.value) : python_rounded(value.value, kDecimals);
}

/// "(1/2,3)" as "(0.5,3)": every member of a tuple or list as its value to two decimals. Unchanged where one has none.
Text with_member_values(const Text& text, MathNames names) {
  if (text.size() < 2) return text;
  const bool tuple = text.front() == U'(' && text.back() == U')',
             list = text.front() == U'[' && text.back() == U']';
  const std::vector<Text> members = pieces_of(text.substr(1, text.size() - 2), U",");
  if ((!tuple && !list) || members.size() < 2) return text;
  std::vector<Text> values;
  for (const Text& member : members) {
    if (contains(member, U"infty") || member == U"a" || member == U"-a") {
      values.push_back(member);
      continue;
    }
    const auto value = latex_value(member, names, /*ends_early=*/true);
    if (!value) return text;
    values.push_back(from_utf8(value_text(*value)));
  }
  return text.substr(0, 1) + join(values, U",") + text.substr(text.size() - 1);
}

double to_hundredths(double value) { return std::strtod(fmt::format("{:.2f}", value).c_str(), nullptr); }

}  // namespace

bool math_equal(TextView a, TextView b, MathNames names) {
  const Text left = lower(a), right = lower(b);
  if (replace_all(left, U" ", U"").empty() || replace_all(right, U" ", U"").empty()) return false;
  if (strip(left) == strip(right)) return true;
  const Text left_values = with_member_values(left, names), right_values = with_member_values(right, names);
  if (left_values == right_values) return true;
  const auto left_value = latex_value(left_values, names, true),
             right_value = latex_value(right_values, names, true);
  return left_value && right_value && to_hundredths(left_value->value) == to_hundredths(right_value->value);
}

bool vlmevalkit_math_equal(TextView a, TextView b) {
  constexpr double kTolerance = 1e-6;
  const Text left(strip(lower(a))), right(strip(lower(b)));
  if (left == right) return true;
  const auto close = [&](const std::optional<MathValue>& x, const std::optional<MathValue>& y) {
    return x && y && std::abs(x->value - y->value) < kTolerance;
  };
  return close(python_value(left), python_value(right)) ||
         close(latex_value(left, MathNames::kNone, false), latex_value(right, MathNames::kNone, false));
}

}  // namespace ropescope::eval
