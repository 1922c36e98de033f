// Arithmetic, joined texts and lists, comparisons.
#include <algorithm>
#include <cmath>

#include "ropescope/text/jinja_builtins.h"

namespace ropescope::jinja {

namespace {

[[noreturn]] void cannot(const std::string& operation, const Value& left, const Value& right) {
  throw Fault("{} cannot be applied to {} and {}", operation, left.type(), right.type());
}

int64_t whole_operation(const std::string& operation, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflows = false;
  if (operation == "+") overflows = __builtin_add_overflow(a, b, &result);
  if (operation == "-") overflows = __builtin_sub_overflow(a, b, &result);
  if (operation == "*") overflows = __builtin_mul_overflow(a, b, &result);
  if (operation == "//" || operation == "%") {
    if (b == 0) throw Fault("{}: division by 0", operation);
    if (b == -1) return operation == "%" ? 0 : whole_operation("-", 0, a);
    const int64_t quotient = a / b - ((a % b != 0 && (a < 0) != (b < 0)) ? 1 : 0);
    result = operation == "//" ? quotient : a - quotient * b;
  }
  if (operation == "**") {
    result = 1;
    for (int64_t i = 0; i < b && !overflows && i < 64; ++i)
      overflows = __builtin_mul_overflow(result, a, &result);
    overflows = overflows || (b >= 64 && a != 0 && a != 1 && a != -1);
    if (b >= 64 && a == -1) result = b % 2 == 0 ? 1 : -1;
  }
  if (overflows) throw Fault("{}: the number becomes too large", operation);
  return result;
}

double real_operation(const std::string& operation, double a, double b) {
  if (operation == "+") return a + b;
  if (operation == "-") return a - b;
  if (operation == "*") return a * b;
  if (operation == "**") return std::pow(a, b);
  if (b == 0) throw Fault("{}: division by 0", operation);
  if (operation == "/") return a / b;
  const double quotient = std::floor(a / b);
  return operation == "//" ? quotient : a - quotient * b;
}

}  // namespace

Value apply_operation(const std::string& name, const Value& left, const Value& right, Budget& budget) {
  if (name == "~") {
    std::string text = budget.text_of(left) + budget.text_of(right);
    return Value(std::move(text));
  }
  for (const Value* side : {&left, &right}) {
    if (const auto* undefined = side->as<Undefined>()) throw Fault("'{}' is undefined", undefined->name);
  }
  if (left.is_number() && right.is_number()) {
    const bool real = left.as<double>() != nullptr || right.as<double>() != nullptr || name == "/";
    const bool root = name == "**" && !real && right.integer("**") < 0;
    if (real || root) return Value(real_operation(name, left.number("operand"), right.number("operand")));
    return Value(whole_operation(name, left.integer("operand"), right.integer("operand")));
  }
  if (name == "+" && left.text() != nullptr && right.text() != nullptr) {
    budget.bytes(left.text()->size() + right.text()->size());
    return Value(*left.text() + *right.text());
  }
  if (name == "+" && left.list() != nullptr && right.list() != nullptr) {
    std::vector<Value> items = *left.list();
    items.insert(items.end(), right.list()->begin(), right.list()->end());
    budget.bytes(items.size() * sizeof(Value));
    return Value(std::move(items));
  }
  if (name == "*" && (left.text() != nullptr) != (right.text() != nullptr) &&
      (left.is_number() || right.is_number())) {
    const std::string& text = left.text() != nullptr ? *left.text() : *right.text();
    const int64_t times = std::max<int64_t>(0, (left.text() != nullptr ? right : left).integer("*"));
    if (times > (int64_t{1} << 30)) throw Fault("*: the text becomes too long");
    budget.bytes(text.size() * static_cast<size_t>(times));
    std::string out;
    for (int64_t i = 0; i < times && !text.empty(); ++i) out += text;
    return Value(std::move(out));
  }
  cannot(name, left, right);
}

bool compares(const std::string& name, const Value& left, const Value& right) {
  return name == "=="       ? equal(left, right)
         : name == "!="     ? !equal(left, right)
         : name == "in"     ? contains(right, left)
         : name == "not in" ? !contains(right, left)
         : name == "<"      ? less(left, right)
         : name == ">"      ? less(right, left)
         : name == "<="     ? !less(right, left)
                            : !less(left, right);
}

}  // namespace ropescope::jinja
