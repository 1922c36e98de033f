// Values of a chat template while it is rendered: Python's as far as templates meet them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"

namespace ropescope::jinja {

/// What is wrong with a template or with what it does; the caller adds its name.
class Fault : public std::runtime_error {
 public:
  template <typename... Args>
  explicit Fault(fmt::format_string<Args...> format, Args&&... args)
      : std::runtime_error(fmt::format(format, std::forward<Args>(args)...)) {}
};

struct Node;
class Value;

struct Undefined {
  std::string name;  ///< of what was looked for
};
struct None {};
struct List;
struct Dict;
struct Namespace;
/// A macro, or one of the functions that every template has.
struct Function {
  std::string name;
  const Node* macro = nullptr;
};

/// Lists and dictionaries are never changed once they are made, as in transformers' immutable sandbox; namespaces are.
/// Neither namespaces nor functions can be put into a list or a dictionary, so values have no cycles.
class Value {
 public:
  using Data = std::variant<Undefined, None, bool, int64_t, double, std::string, std::shared_ptr<const List>,
                            std::shared_ptr<const Dict>, std::shared_ptr<Namespace>, Function>;

  Value() : data_(None{}) {}
  explicit Value(Undefined value) : data_(std::move(value)) {}
  explicit Value(bool value) : data_(value) {}
  explicit Value(int64_t value) : data_(value) {}
  explicit Value(double value) : data_(value) {}
  explicit Value(std::string value) : data_(std::move(value)) {}
  explicit Value(const char* value) : data_(std::string(value)) {}
  explicit Value(std::vector<Value> items);
  explicit Value(std::vector<std::pair<std::string, Value>> items);
  explicit Value(std::shared_ptr<Namespace> value) : data_(std::move(value)) {}
  explicit Value(Function value) : data_(std::move(value)) {}

  template <typename T>
  const T* as() const {
    return std::get_if<T>(&data_);
  }
  const std::string* text() const { return as<std::string>(); }
  const std::vector<Value>* list() const;
  const std::vector<std::pair<std::string, Value>>* dict() const;
  Namespace* name_space() const;
  bool is_undefined() const { return as<Undefined>() != nullptr; }
  bool is_none() const { return as<None>() != nullptr; }
  bool is_number() const {
    return as<bool>() != nullptr || as<int64_t>() != nullptr || as<double>() != nullptr;
  }

  bool truth() const;
  /// Of a bool or an integer. Throws Fault.
  int64_t integer(const char* what) const;
  double number(const char* what) const;
  /// Python's name of the type, for messages.
  std::string type() const;
  /// Nesting of lists and dictionaries, bounded when they are made.
  int depth() const;

 private:
  Data data_;
};

struct List {
  std::vector<Value> items;
  int depth = 1;
};
struct Dict {
  std::vector<std::pair<std::string, Value>> items;  ///< in their order, names once
  int depth = 1;
};
struct Namespace {
  std::vector<std::pair<std::string, Value>> items;
};

/// nullptr where there is none.
const Value* find(const std::vector<std::pair<std::string, Value>>& items, std::string_view name);
/// Adds or replaces.
void put(std::vector<std::pair<std::string, Value>>& items, const std::string& name, Value value);

/// Python's str() and repr().
std::string to_text(const Value& value);
std::string to_repr(const Value& value);
/// json.dumps(value, ensure_ascii=False, indent=indent); indent < 0: on one line.
std::string to_json(const Value& value, int64_t indent);
Value from_json(const Json& json);

bool equal(const Value& left, const Value& right);
/// Numbers, texts, lists. Throws Fault for what has no order.
bool less(const Value& left, const Value& right);

/// The characters of UTF-8 text, each a piece of it; broken bytes stand alone.
std::vector<std::string_view> characters(std::string_view text);

}  // namespace ropescope::jinja
