#include <cmath>
#include <cstdlib>

#include "ropescope/eval/math_answer.h"

namespace ropescope::eval {

namespace {

constexpr int kDeepest = 64;

/// Recursive descent; every function returns none for what it cannot read.
class Arithmetic {
 public:
  enum class Kind { kLatex, kPython };
  Arithmetic(TextView text, Kind kind, MathNames names) : text_(text), kind_(kind), names_(names) {}

  std::optional<MathValue> value(bool ends_early) {
    const auto result = sum();
    skip_blanks();
    const bool ended = at_ == text_.size() || (ends_early && contains(U"}])", text_.substr(at_, 1)));
    if (!result || !ended || !std::isfinite(result->value)) return std::nullopt;
    return result;
  }

 private:
  using Value = std::optional<MathValue>;
  bool latex() const { return kind_ == Kind::kLatex; }

  void skip_blanks() { at_ = past_blanks(text_, at_); }
  /// A sign or a command; a command ends where its letters do.
  bool take(TextView word) {
    skip_blanks();
    if (text_.compare(at_, word.size(), word) != 0) return false;
    const size_t end = at_ + word.size();
    const bool command = word.size() > 1 && word[0] == U'\\' && is_letter(word[1]);
    if (command && end < text_.size() && is_letter(text_[end])) return false;
    at_ = end;
    return true;
  }
  bool at_operand() {
    skip_blanks();
    if (at_ == text_.size()) return false;
    const TextView rest = text_.substr(at_);
    const char32_t c = rest[0];
    if ((c >= U'0' && c <= U'9') || c == U'.' || c == U'(' || c == U'{') return true;
    for (const TextView word :
         {TextView(U"\\frac"), TextView(U"\\sqrt"), TextView(U"\\pi"), TextView(U"\\left")}) {
      if (rest.compare(0, word.size(), word) == 0) return true;
    }
    return false;
  }

  Value sum() {
    if (++depth_ > kDeepest) return std::nullopt;
    Value left = product();
    while (left) {
      const bool plus = take(U"+");
      if (!plus && !take(U"-")) break;
      const Value right = product();
      if (!right) return std::nullopt;
      left->value += plus ? right->value : -right->value;
      left->whole = left->whole && right->whole;
    }
    --depth_;
    return left;
  }

  bool take_division() { return take(U"/") || (latex() && (take(U":") || take(U"\\div"))); }
  bool take_multiplication() {
    if (!latex()) {
      skip_blanks();
      return text_.compare(at_, 2, U"**") != 0 && take(U"*");
    }
    return take(U"*") || take(U"\\cdot") || take(U"\\times");
  }

  Value product() {
    Value left = signed_power();
    while (left) {
      const bool divide = take_division();
      if (!divide && !take_multiplication() && !(latex() && at_operand())) break;
      const Value right = signed_power();
      if (!right || (divide && right->value == 0)) return std::nullopt;
      left->value = divide ? left->value / right->value : left->value * right->value;
      left->whole = left->whole && right->whole && !divide;
    }
    return left;
  }

  Value signed_power() {
    bool negative = false;
    while (true) {
      if (take(U"-")) {
        negative = !negative;
      } else if (!take(U"+")) {
        break;
      }
    }
    Value base = power();
    if (base && negative) base->value = -base->value;
    return base;
  }

  Value power() {
    Value base = postfixed();
    while (base && take(latex() ? TextView(U"^") : TextView(U"**"))) {
      // (in LaTeX only the next character or group is the exponent)
      const Value exponent = latex() ? atom(/*single_digit=*/true) : signed_power();
      if (!exponent) return std::nullopt;
      base->value = std::pow(base->value, exponent->value);
      base->whole = base->whole && exponent->whole && exponent->value >= 0;
    }
    return base;
  }

  Value postfixed() {
    Value result = atom(/*single_digit=*/false);
    while (result && latex()) {
      if (take(U"\\%") || take(U"%")) {
        result = MathValue{result->value / 100, false};
      } else if (names_ == MathNames::kRootsAndPi && take(U"!")) {
        constexpr double kLargest = 20;
        const bool known = result->whole && result->value >= 0 && result->value <= kLargest;
        result = known ? Value(MathValue{std::round(std::tgamma(result->value + 1)), true}) : std::nullopt;
      } else {
        break;
      }
    }
    return result;
  }

  Value bracketed(TextView end) {
    Value inner = sum();
    if (!inner || !take(end)) return std::nullopt;
    return inner;
  }

  Value group() { return take(U"{") ? bracketed(U"}") : std::nullopt; }

  Value atom(bool single_digit) {
    skip_blanks();
    if (take(U"(")) return bracketed(U")");
    if (!latex()) return number(false);
    if (take(U"\\left")) {
      if (!take(U"(")) return std::nullopt;
      Value inner = sum();
      return inner && take(U"\\right") && take(U")") ? inner : std::nullopt;
    }
    if (take(U"{")) return bracketed(U"}");
    if (take(U"\\frac")) {
      const Value above = group(), below = above ? group() : std::nullopt;
      if (!below || below->value == 0) return std::nullopt;
      return MathValue{above->value / below->value, false};
    }
    if (take(U"\\sqrt")) return root();
    if (names_ == MathNames::kRootsAndPi && take(U"\\pi")) return MathValue{std::acos(-1.0), false};
    return number(single_digit);
  }

  /// A root with its degree is a power, which needs no name.
  Value root() {
    if (take(U"[")) {
      const Value degree = bracketed(U"]"), of = degree ? group() : std::nullopt;
      if (!of || degree->value == 0) return std::nullopt;
      return MathValue{std::pow(of->value, 1 / degree->value), false};
    }
    const Value of = group();
    if (!of || names_ == MathNames::kNone) return std::nullopt;
    return MathValue{std::sqrt(of->value), false};
  }

  Value number(bool single_digit) {
    std::string plain;
    bool fraction = false, digit = false;
    for (; at_ < text_.size(); ++at_) {
      const char32_t c = text_[at_];
      if (c >= U'0' && c <= U'9') {
        plain += static_cast<char>(c);
        digit = true;
        if (!single_digit) continue;
        ++at_;
        break;
      }
      if (c == U',' && latex() && digit && !fraction && is_thousand()) continue;
      if (c != U'.' || fraction) break;
      fraction = true;
      plain += '.';
    }
    if (!digit) return std::nullopt;
    if (!latex() && take_exponent(plain)) fraction = true;
    // (Python takes no zeros in front of a whole number)
    if (!latex() && !fraction && plain.size() > 1 && plain[0] == '0') return std::nullopt;
    const double value = std::strtod(plain.c_str(), nullptr);
    return MathValue{value, latex() ? value == std::floor(value) : !fraction};
  }

  /// e, perhaps a sign, digits: such a number is no whole one in Python.
  bool take_exponent(std::string& plain) {
    size_t end = at_;
    if (end == text_.size() || (text_[end] != U'e' && text_[end] != U'E')) return false;
    ++end;
    if (end < text_.size() && (text_[end] == U'+' || text_[end] == U'-')) ++end;
    const size_t digits = end;
    while (end < text_.size() && text_[end] >= U'0' && text_[end] <= U'9') ++end;
    if (end == digits) return false;
    plain += to_utf8(text_.substr(at_, end - at_));
    at_ = end;
    return true;
  }

  /// Three digits and then no other stand behind a comma.
  bool is_thousand() const {
    const auto digit = [&](size_t i) { return i < text_.size() && text_[i] >= U'0' && text_[i] <= U'9'; };
    return digit(at_ + 1) && digit(at_ + 2) && digit(at_ + 3) && !digit(at_ + 4);
  }

  TextView text_;
  Kind kind_;
  MathNames names_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

std::optional<MathValue> latex_value(TextView text, MathNames names, bool ends_early) {
  return Arithmetic(text, Arithmetic::Kind::kLatex, names).value(ends_early);
}

std::optional<MathValue> python_value(TextView text) {
  return Arithmetic(text, Arithmetic::Kind::kPython, MathNames::kNone).value(/*ends_early=*/false);
}

}  // namespace ropescope::eval
