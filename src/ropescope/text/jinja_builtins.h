// What a chat template can call: filters, tests, methods of texts and dictionaries, functions.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "ropescope/text/jinja_value.h"

namespace ropescope::jinja {

/// What raise_exception() of a template says.
class Refusal : public Fault {
 public:
  explicit Refusal(const std::string& message) : Fault("{}", message) {}
};

/// What one rendering may use: templates come with downloaded models. Every method throws Fault beyond it.
class Budget {
 public:
  void step();
  /// Of texts and lists that are made.
  void bytes(size_t count);
  /// str(), which remembers whether a list or a dictionary became text.
  std::string text_of(const Value& value);
  bool made_text_of_container() const { return container_; }

 private:
  int64_t steps_ = 0;
  size_t bytes_ = 0;
  bool container_ = false;
};

struct Arguments {
  std::vector<Value> values;
  std::vector<std::pair<std::string, Value>> named;

  /// By place or by name; nullptr where it is not given.
  const Value* get(size_t place, const char* name) const;
};

/// Each throws Fault for a name that is not known and for wrong arguments.
Value apply_filter(const std::string& name, const Value& value, const Arguments& arguments, Budget& budget);
bool apply_test(const std::string& name, const Value& value, const Arguments& arguments);
/// self.name(...)
Value call_method(const Value& self, const std::string& name, const Arguments& arguments, Budget& budget);
/// name(...)
bool is_function(const std::string& name);
Value call_function(const std::string& name, const Arguments& arguments, Budget& budget);

/// left name right, for + - * / // % ** ~.
Value apply_operation(const std::string& name, const Value& left, const Value& right, Budget& budget);
/// The same for == != < <= > >= in, "not in".
bool compares(const std::string& name, const Value& left, const Value& right);

/// object.name and object[index] as Jinja reads them: undefined where there is none. Throw Fault for an undefined object.
Value attribute_of(const Value& object, const std::string& name);
Value item_of(const Value& object, const Value& index);
/// What a loop goes over: items, a dictionary's names, characters; nothing of an undefined value.
std::vector<Value> items_of(const Value& value, Budget& budget);
/// Whether `value` is in `container`.
bool contains(const Value& container, const Value& value);

/// Python's strip, with its white space or the given characters; `sides` 1: left, 2: right, 3: both.
std::string stripped(const std::string& text, const Value* what, int sides);

}  // namespace ropescope::jinja
