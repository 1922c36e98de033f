// Filters and tests.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <sstream>

#include <unicode/locid.h>
#include <unicode/unistr.h>

#include "ropescope/text/jinja_builtins.h"

namespace ropescope::jinja {

namespace {

std::string upper_case(const std::string& text) {
  std::string out;
  icu::UnicodeString::fromUTF8(text).toUpper(icu::Locale::getRoot()).toUTF8String(out);
  return out;
}

std::string lower_case(const std::string& text) {
  std::string out;
  icu::UnicodeString::fromUTF8(text).toLower(icu::Locale::getRoot()).toUTF8String(out);
  return out;
}

std::string capitalised(const std::string& text) {
  const std::vector<std::string_view> all = characters(text);
  if (all.empty()) return text;
  return upper_case(std::string(all.front())) + lower_case(text.substr(all.front().size()));
}

std::string titled(const std::string& text) {
  std::string out;
  bool inside = false;
  for (const std::string_view c : characters(text)) {
    const std::string one(c), low = lower_case(one), high = upper_case(one);
    out += inside ? low : high;
    inside = low != high || (inside && (one == "'" || (one >= "0" && one <= "9")));
  }
  return out;
}

/// "function.name" of an item.
Value path_of(const Value& item, const Value& path, const Value* usual) {
  if (path.text() == nullptr) return item_of(item, path);
  Value value = item;
  std::stringstream stream(*path.text());
  for (std::string part; std::getline(stream, part, '.');) {
    const bool number =
        !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == std::string::npos;
    value =
        number ? item_of(value, Value(static_cast<int64_t>(std::stoll(part)))) : attribute_of(value, part);
  }
  return value.is_undefined() && usual != nullptr ? *usual : value;
}

Arguments behind(const Arguments& arguments, size_t first) {
  Arguments rest;
  for (size_t i = first; i < arguments.values.size(); ++i) rest.values.push_back(arguments.values[i]);
  return rest;
}

const std::string& name_argument(const std::string& filter, const Arguments& arguments, size_t place) {
  if (place >= arguments.values.size() || arguments.values[place].text() == nullptr) {
    throw Fault("{}: expected a name", filter);
  }
  return *arguments.values[place].text();
}

Value mapped(const Value& value, const Arguments& arguments, Budget& budget) {
  std::vector<Value> out;
  const Value* path = find(arguments.named, "attribute");
  const Value* usual = find(arguments.named, "default");
  for (const Value& item : items_of(value, budget)) {
    budget.step();
    out.push_back(path != nullptr
                      ? path_of(item, *path, usual)
                      : apply_filter(name_argument("map", arguments, 0), item, behind(arguments, 1), budget));
  }
  return Value(std::move(out));
}

/// select, reject, selectattr, rejectattr.
Value selected(const std::string& name, const Value& value, const Arguments& arguments, Budget& budget) {
  const bool by_attribute = name == "selectattr" || name == "rejectattr", keeps = name[0] == 's';
  const size_t first = by_attribute ? 1 : 0;
  if (by_attribute && arguments.values.empty()) throw Fault("{}: expected the name of an attribute", name);
  std::vector<Value> out;
  for (const Value& item : items_of(value, budget)) {
    budget.step();
    const Value own = by_attribute ? path_of(item, arguments.values[0], nullptr) : item;
    const bool passes = arguments.values.size() > first ? apply_test(name_argument(name, arguments, first),
                                                                     own, behind(arguments, first + 1))
                                                        : own.truth();
    if (passes == keeps) out.push_back(item);
  }
  return Value(std::move(out));
}

Value joined(const Value& value, const Arguments& arguments, Budget& budget) {
  const Value* separator = arguments.get(0, "d");
  const Value* path = arguments.get(1, "attribute");
  const std::string between = separator == nullptr ? "" : budget.text_of(*separator);
  std::string out;
  bool first = true;
  for (const Value& item : items_of(value, budget)) {
    if (!first) out += between;
    first = false;
    out += budget.text_of(path == nullptr ? item : path_of(item, *path, nullptr));
    budget.bytes(between.size());
  }
  return Value(std::move(out));
}

Value sorted(const Value& value, const Arguments& arguments, Budget& budget, bool unique) {
  std::vector<Value> items = items_of(value, budget);
  const Value* path = unique ? arguments.get(1, "attribute") : arguments.get(2, "attribute");
  const Value* sensitive = unique ? arguments.get(0, "case_sensitive") : arguments.get(1, "case_sensitive");
  const auto key = [&](const Value& item) {
    Value own = path == nullptr ? item : path_of(item, *path, nullptr);
    const bool folds = own.text() != nullptr && (sensitive == nullptr || !sensitive->truth());
    return folds ? Value(lower_case(*own.text())) : own;
  };
  if (unique) {
    std::vector<Value> out, keys;
    for (Value& item : items) {
      const Value own = key(item);
      const bool seen = std::any_of(keys.begin(), keys.end(), [&](const Value& known) {
        budget.step();
        return equal(known, own);
      });
      if (seen) continue;
      keys.push_back(own);
      out.push_back(std::move(item));
    }
    return Value(std::move(out));
  }
  const Value* reverse = arguments.get(0, "reverse");
  const bool falls = reverse != nullptr && reverse->truth();
  std::stable_sort(items.begin(), items.end(), [&](const Value& left, const Value& right) {
    budget.step();
    return falls ? less(key(right), key(left)) : less(key(left), key(right));
  });
  return Value(std::move(items));
}

Value indented(const Value& value, const Arguments& arguments, Budget& budget) {
  const Value* width = arguments.get(0, "width");
  const Value *first = arguments.get(1, "first"), *blank = arguments.get(2, "blank");
  const std::string space =
      width == nullptr ? "    "
      : width->text() != nullptr
          ? *width->text()
          : std::string(static_cast<size_t>(std::clamp<int64_t>(width->integer("indent"), 0, 1000)), ' ');
  std::string out;
  std::stringstream stream(budget.text_of(value));
  bool top = true;
  for (std::string line; std::getline(stream, line); top = false) {
    if (!top) out += '\n';
    const bool indents =
        top ? first != nullptr && first->truth() : !line.empty() || (blank != nullptr && blank->truth());
    if (indents) out += space;
    out += line;
    budget.bytes(space.size() + line.size());
  }
  return Value(std::move(out));
}

Value whole_number(const Value& value, const Arguments& arguments) {
  const Value* usual = arguments.get(0, "default");
  if (const double* real = value.as<double>(); real != nullptr && std::abs(*real) < 9e18) {
    return Value(static_cast<int64_t>(*real));
  }
  if (value.is_number()) return Value(value.integer("int"));
  if (const std::string* text = value.text()) {
    const std::string plain = stripped(*text, nullptr, 3);
    if (!plain.empty() && plain.size() < 18 &&
        plain.find_first_not_of("0123456789", plain[0] == '-' ? 1 : 0) == std::string::npos && plain != "-") {
      return Value(static_cast<int64_t>(std::stoll(plain)));
    }
  }
  return usual == nullptr ? Value(int64_t{0}) : *usual;
}

Value least_or_greatest(const std::string& name, const Value& value, Budget& budget) {
  const std::vector<Value> items = items_of(value, budget);
  if (items.empty()) return Value(Undefined{name + " of nothing"});
  return name == "min" ? *std::min_element(items.begin(), items.end(), less)
                       : *std::max_element(items.begin(), items.end(), less);
}

std::optional<Value> text_filter(const std::string& name, const Value& value, const Arguments& arguments,
                                 Budget& budget) {
  if (name == "trim") return Value(stripped(budget.text_of(value), arguments.get(0, "chars"), 3));
  if (name == "upper") return Value(upper_case(budget.text_of(value)));
  if (name == "lower") return Value(lower_case(budget.text_of(value)));
  if (name == "capitalize") return Value(capitalised(budget.text_of(value)));
  if (name == "title") return Value(titled(budget.text_of(value)));
  if (name == "string" || name == "safe") return Value(budget.text_of(value));
  if (name == "replace") return call_method(Value(budget.text_of(value)), name, arguments, budget);
  if (name == "indent") return indented(value, arguments, budget);
  if (name == "tojson") {
    const Value* indent = arguments.get(0, "indent");
    const Value* wide = find(arguments.named, "indent");
    const Value* used = wide != nullptr ? wide : indent;
    std::string text =
        to_json(value, used == nullptr || used->is_none() ? -1 : used->integer("tojson: indent"));
    budget.bytes(text.size());
    return Value(std::move(text));
  }
  return std::nullopt;
}

std::optional<Value> list_filter(const std::string& name, const Value& value, const Arguments& arguments,
                                 Budget& budget) {
  if (name == "length" || name == "count") {
    if (value.text() == nullptr && value.list() == nullptr && value.dict() == nullptr &&
        !value.is_undefined()) {
      throw Fault("length: expected a text, a list or a dictionary, found {}", value.type());
    }
    if (value.text() != nullptr) return Value(static_cast<int64_t>(characters(*value.text()).size()));
    return Value(static_cast<int64_t>(items_of(value, budget).size()));
  }
  if (name == "join") return joined(value, arguments, budget);
  if (name == "list") return Value(items_of(value, budget));
  if (name == "items" || name == "dictsort") {
    if (value.is_undefined()) return Value(std::vector<Value>());
    if (value.dict() == nullptr) throw Fault("{}: expected a dictionary, found {}", name, value.type());
    std::vector<Value> items;
    for (const auto& [key, item] : *value.dict()) items.emplace_back(std::vector<Value>{Value(key), item});
    budget.bytes(items.size() * sizeof(Value));
    if (name == "items") return Value(std::move(items));
    std::stable_sort(items.begin(), items.end(), [](const Value& left, const Value& right) {
      return lower_case(*left.list()->front().text()) < lower_case(*right.list()->front().text());
    });
    return Value(std::move(items));
  }
  if (name == "first" || name == "last") {
    const std::vector<Value> items = items_of(value, budget);
    if (items.empty()) return Value(Undefined{name + " of nothing"});
    return name == "first" ? items.front() : items.back();
  }
  if (name == "reverse") {
    std::vector<Value> items = items_of(value, budget);
    std::reverse(items.begin(), items.end());
    if (value.text() == nullptr) return Value(std::move(items));
    return joined(Value(std::move(items)), {}, budget);
  }
  if (name == "map") return mapped(value, arguments, budget);
  if (name == "select" || name == "reject" || name == "selectattr" || name == "rejectattr") {
    return selected(name, value, arguments, budget);
  }
  if (name == "sort" || name == "unique") return sorted(value, arguments, budget, name == "unique");
  if (name == "min" || name == "max") return least_or_greatest(name, value, budget);
  return std::nullopt;
}

}  // namespace

Value apply_filter(const std::string& name, const Value& value, const Arguments& arguments, Budget& budget) {
  budget.step();
  if (auto made = text_filter(name, value, arguments, budget)) return *made;
  if (auto made = list_filter(name, value, arguments, budget)) return *made;
  if (name == "default" || name == "d") {
    const Value *usual = arguments.get(0, "default_value"), *also_false = arguments.get(1, "boolean");
    const bool replaces =
        value.is_undefined() || (also_false != nullptr && also_false->truth() && !value.truth());
    return !replaces ? value : usual == nullptr ? Value("") : *usual;
  }
  if (name == "int") return whole_number(value, arguments);
  if (name == "float") {
    if (const std::string* text = value.text()) {
      char* end = nullptr;
      const double number = std::strtod(text->c_str(), &end);
      return Value(end != text->c_str() && *end == 0 ? number : 0.0);
    }
    return Value(value.is_number() ? value.number("float") : 0.0);
  }
  if (name == "abs") {
    if (value.as<double>() != nullptr) return Value(std::abs(*value.as<double>()));
    const int64_t whole = value.integer("abs");
    return Value(whole < 0 ? static_cast<int64_t>(-static_cast<uint64_t>(whole)) : whole);
  }
  throw Fault("the filter \"{}\" is not supported", name);
}

bool apply_test(const std::string& name, const Value& value, const Arguments& arguments) {
  const auto other = [&]() -> const Value& {
    const Value* given = arguments.get(0, "other");
    if (given == nullptr) throw Fault("the test \"{}\": expected a value to compare with", name);
    return *given;
  };
  if (name == "defined") return !value.is_undefined();
  if (name == "undefined") return value.is_undefined();
  if (name == "none") return value.is_none();
  if (name == "string") return value.text() != nullptr;
  if (name == "mapping") return value.dict() != nullptr;
  if (name == "sequence" || name == "iterable") {
    return value.text() != nullptr || value.list() != nullptr || value.dict() != nullptr ||
           value.is_undefined();
  }
  if (name == "number") return value.is_number();
  if (name == "integer") return value.as<int64_t>() != nullptr;
  if (name == "float") return value.as<double>() != nullptr;
  if (name == "boolean") return value.as<bool>() != nullptr;
  if (name == "true") return value.as<bool>() != nullptr && value.truth();
  if (name == "false") return value.as<bool>() != nullptr && !value.truth();
  if (name == "callable") return value.as<Function>() != nullptr;
  if (name == "odd") return value.integer("odd") % 2 != 0;
  if (name == "even") return value.integer("even") % 2 == 0;
  if (name == "divisibleby") {
    const int64_t by = other().integer("divisibleby");
    if (by == 0) throw Fault("divisibleby: division by 0");
    return by == -1 || value.integer("divisibleby") % by == 0;
  }
  if (name == "upper") return value.text() != nullptr && *value.text() == upper_case(*value.text());
  if (name == "lower") return value.text() != nullptr && *value.text() == lower_case(*value.text());
  if (name == "in") return contains(other(), value);
  if (name == "eq" || name == "equalto" || name == "==" || name == "sameas") return equal(value, other());
  if (name == "ne") return !equal(value, other());
  if (name == "lt" || name == "lessthan") return less(value, other());
  if (name == "gt" || name == "greaterthan") return less(other(), value);
  if (name == "le") return !less(other(), value);
  if (name == "ge") return !less(value, other());
  throw Fault("the test \"{}\" is not supported", name);
}

}  // namespace ropescope::jinja
