#include "ropescope/text/jinja_value.h"

#include <algorithm>
#include <cmath>

namespace ropescope::jinja {

namespace {

constexpr int kDeepestValue = 64;

int depth_within(const Value& value) {
  if (value.name_space() != nullptr || value.as<Function>() != nullptr) {
    throw Fault("a {} cannot be part of a list or a dictionary", value.type());
  }
  return value.depth();
}

int deeper(int depth) {
  if (depth >= kDeepestValue) throw Fault("values are nested more than {} deep", kDeepestValue);
  return depth + 1;
}

std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

/// "..." as json.dumps writes it, or '...' as repr() does.
std::string quoted(const std::string& text, char quote) {
  std::string out(1, quote);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == quote || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || (quote == '\'' && byte == 0x7F)) {
      out += quote != '"' ? fmt::format("\\x{:02x}", byte)
             : c == '\b'  ? "\\b"
             : c == '\f'  ? "\\f"
                          : fmt::format("\\u{:04x}", byte);
    } else {
      out += c;
    }
  }
  return out + quote;
}

std::string dumped(const Value& value, int64_t indent, int64_t level) {
  if (value.is_undefined()) throw Fault("an undefined value cannot be written as JSON");
  if (value.is_none()) return "null";
  if (const bool* yes = value.as<bool>()) return *yes ? "true" : "false";
  if (const std::string* text = value.text()) return quoted(*text, '"');
  const std::string newline =
      indent < 0 ? "" : "\n" + std::string(static_cast<size_t>(indent * (level + 1)), ' ');
  const std::string last = indent < 0 ? "" : "\n" + std::string(static_cast<size_t>(indent * level), ' ');
  const std::string comma = indent < 0 ? ", " : ",";
  std::string out;
  if (const auto* list = value.list()) {
    for (const Value& item : *list)
      out += (out.empty() ? "" : comma) + newline + dumped(item, indent, level + 1);
    return out.empty() ? "[]" : "[" + out + last + "]";
  }
  if (const auto* dict = value.dict()) {
    for (const auto& [name, item] : *dict) {
      out +=
          (out.empty() ? "" : comma) + newline + quoted(name, '"') + ": " + dumped(item, indent, level + 1);
    }
    return out.empty() ? "{}" : "{" + out + last + "}";
  }
  if (value.is_number()) return to_text(value);
  throw Fault("a {} cannot be written as JSON", value.type());
}

}  // namespace

Value::Value(std::vector<Value> items) {
  auto list = std::make_shared<List>();
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, depth_within(item));
  list->depth = deeper(depth);
  list->items = std::move(items);
  data_ = std::shared_ptr<const List>(std::move(list));
}

Value::Value(std::vector<std::pair<std::string, Value>> items) {
  auto dict = std::make_shared<Dict>();
  int depth = 0;
  for (const auto& [name, item] : items) depth = std::max(depth, depth_within(item));
  dict->depth = deeper(depth);
  dict->items = std::move(items);
  data_ = std::shared_ptr<const Dict>(std::move(dict));
}

const std::vector<Value>* Value::list() const {
  const auto* held = as<std::shared_ptr<const List>>();
  return held == nullptr ? nullptr : &(*held)->items;
}

const std::vector<std::pair<std::string, Value>>* Value::dict() const {
  const auto* held = as<std::shared_ptr<const Dict>>();
  return held == nullptr ? nullptr : &(*held)->items;
}

Namespace* Value::name_space() const {
  const auto* held = as<std::shared_ptr<Namespace>>();
  return held == nullptr ? nullptr : held->get();
}

int Value::depth() const {
  if (const auto* held = as<std::shared_ptr<const List>>()) return (*held)->depth;
  if (const auto* held = as<std::shared_ptr<const Dict>>()) return (*held)->depth;
  return 0;
}

bool Value::truth() const {
  if (is_undefined() || is_none()) return false;
  if (const bool* yes = as<bool>()) return *yes;
  if (const int64_t* whole = as<int64_t>()) return *whole != 0;
  if (const double* real = as<double>()) return *real != 0;
  if (const std::string* said = text()) return !said->empty();
  if (const auto* items = list()) return !items->empty();
  if (const auto* items = dict()) return !items->empty();
  return true;
}

int64_t Value::integer(const char* what) const {
  if (const bool* yes = as<bool>()) return *yes ? 1 : 0;
  if (const int64_t* whole = as<int64_t>()) return *whole;
  throw Fault("{}: expected a whole number, found {}", what, type());
}

double Value::number(const char* what) const {
  if (const double* real = as<double>()) return *real;
  if (is_number()) return static_cast<double>(integer(what));
  throw Fault("{}: expected a number, found {}", what, type());
}

std::string Value::type() const {
  if (const auto* undefined = as<Undefined>())
    return fmt::format("nothing ('{}' is undefined)", undefined->name);
  if (is_none()) return "None";
  if (as<bool>() != nullptr) return "a bool";
  if (as<int64_t>() != nullptr) return "a whole number";
  if (as<double>() != nullptr) return "a float";
  if (text() != nullptr) return "a text";
  if (list() != nullptr) return "a list";
  if (dict() != nullptr) return "a dictionary";
  return name_space() != nullptr ? "namespace" : "function";
}

const Value* find(const std::vector<std::pair<std::string, Value>>& items, std::string_view name) {
  for (const auto& [own, value] : items) {
    if (own == name) return &value;
  }
  return nullptr;
}

void put(std::vector<std::pair<std::string, Value>>& items, const std::string& name, Value value) {
  for (auto& [own, old] : items) {
    if (own == name) {
      old = std::move(value);
      return;
    }
  }
  items.emplace_back(name, std::move(value));
}

std::string to_text(const Value& value) {
  if (value.is_undefined()) return "";
  if (const std::string* text = value.text()) return *text;
  return to_repr(value);
}

std::string to_repr(const Value& value) {
  if (value.is_undefined()) return "Undefined";
  if (value.is_none()) return "None";
  if (const bool* yes = value.as<bool>()) return *yes ? "True" : "False";
  if (const int64_t* whole = value.as<int64_t>()) return std::to_string(*whole);
  if (const double* real = value.as<double>()) return float_text(*real);
  if (const std::string* text = value.text()) {
    const bool plain = text->find('\'') == std::string::npos || text->find('"') != std::string::npos;
    if (plain) return quoted(*text, '\'');
    std::string body = quoted(*text, '\x01');  // no quote inside is escaped
    return "\"" + body.substr(1, body.size() - 2) + "\"";
  }
  std::string out;
  if (const auto* list = value.list()) {
    for (const Value& item : *list) out += (out.empty() ? "" : ", ") + to_repr(item);
    return "[" + out + "]";
  }
  if (const auto* dict = value.dict()) {
    for (const auto& [name, item] : *dict) {
      out += (out.empty() ? "" : ", ") + quoted(name, '\'') + ": " + to_repr(item);
    }
    return "{" + out + "}";
  }
  throw Fault("a {} cannot be printed", value.type());
}

std::string to_json(const Value& value, int64_t indent) {
  if (indent > 16) throw Fault("tojson: expected an indent of at most 16, found {}", indent);
  return dumped(value, indent, 0);
}

Value from_json(const Json& json) {
  if (json.is_null()) return Value();
  if (json.is_boolean()) return Value(json.get<bool>());
  if (json.is_number_integer()) return Value(json.get<int64_t>());
  if (json.is_number()) return Value(json.get<double>());
  if (json.is_string()) return Value(json.get<std::string>());
  if (json.is_array()) {
    std::vector<Value> items;
    for (const Json& item : json) items.push_back(from_json(item));
    return Value(std::move(items));
  }
  std::vector<std::pair<std::string, Value>> items;
  for (const auto& [name, item] : json.items()) items.emplace_back(name, from_json(item));
  return Value(std::move(items));
}

bool equal(const Value& left, const Value& right) {
  if (left.is_number() && right.is_number()) return left.number("==") == right.number("==");
  if (left.text() != nullptr && right.text() != nullptr) return *left.text() == *right.text();
  if (left.list() != nullptr && right.list() != nullptr) {
    return std::equal(left.list()->begin(), left.list()->end(), right.list()->begin(), right.list()->end(),
                      equal);
  }
  if (left.dict() != nullptr && right.dict() != nullptr) {
    if (left.dict()->size() != right.dict()->size()) return false;
    return std::all_of(left.dict()->begin(), left.dict()->end(), [&](const auto& entry) {
      const Value* other = find(*right.dict(), entry.first);
      return other != nullptr && equal(entry.second, *other);
    });
  }
  if (left.name_space() != nullptr) return left.name_space() == right.name_space();
  return (left.is_none() && right.is_none()) || (left.is_undefined() && right.is_undefined());
}

bool less(const Value& left, const Value& right) {
  if (left.is_number() && right.is_number()) return left.number("<") < right.number("<");
  if (left.text() != nullptr && right.text() != nullptr) return *left.text() < *right.text();
  if (left.list() != nullptr && right.list() != nullptr) {
    return std::lexicographical_compare(left.list()->begin(), left.list()->end(), right.list()->begin(),
                                        right.list()->end(), less);
  }
  throw Fault("{} and {} have no order", left.type(), right.type());
}

std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> pieces;
  for (size_t at = 0; at < text.size();) {
    const auto first = static_cast<unsigned char>(text[at]);
    const size_t wanted = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : first >= 0xC0 ? 2 : 1;
    size_t length = 1;
    while (length < wanted && at + length < text.size() &&
           (static_cast<unsigned char>(text[at + length]) & 0xC0U) == 0x80) {
      ++length;
    }
    pieces.push_back(text.substr(at, length));
    at += length;
  }
  return pieces;
}

}  // namespace ropescope::jinja
