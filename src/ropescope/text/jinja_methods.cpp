// Methods of texts and dictionaries, functions, attributes and items.
#include <algorithm>
#include <ctime>
#include <optional>

#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include "ropescope/text/jinja_builtins.h"

namespace ropescope::jinja {

namespace {

constexpr int64_t kMostSteps = 400'000;
constexpr size_t kMostBytes = size_t{64} << 20;
constexpr int64_t kLongestRange = 100'000;

const std::string& text_argument(const Arguments& arguments, size_t place, const char* name,
                                 const std::string& method) {
  const Value* value = arguments.get(place, name);
  if (value == nullptr || value->text() == nullptr) throw Fault("{}(): expected a text", method);
  return *value->text();
}

bool is_white(std::string_view c) {
  if (c.size() == 1) {
    const auto byte = static_cast<unsigned char>(c[0]);
    return (byte >= 0x09 && byte <= 0x0D) || (byte >= 0x1C && byte <= 0x20);
  }
  const icu::UnicodeString one = icu::UnicodeString::fromUTF8(std::string(c));
  return u_isUWhiteSpace(one.char32At(0)) != 0;
}

Value texts(std::vector<std::string> parts, Budget& budget) {
  std::vector<Value> items;
  for (std::string& part : parts) {
    budget.bytes(sizeof(Value) + part.size());
    items.emplace_back(std::move(part));
  }
  return Value(std::move(items));
}

std::vector<std::string> split_at_blanks(const std::string& text, int64_t most) {
  std::vector<std::string> parts;
  const std::vector<std::string_view> all = characters(text);
  for (size_t i = 0; i < all.size();) {
    if (is_white(all[i])) {
      ++i;
      continue;
    }
    const auto first = static_cast<size_t>(all[i].data() - text.data());
    if (most >= 0 && static_cast<int64_t>(parts.size()) == most) {
      parts.push_back(stripped(text.substr(first), nullptr, 2));
      break;
    }
    std::string part;
    for (; i < all.size() && !is_white(all[i]); ++i) part += all[i];
    parts.push_back(std::move(part));
  }
  return parts;
}

std::vector<std::string> split_at(const std::string& text, const std::string& separator, int64_t most,
                                  bool from_right) {
  if (separator.empty()) throw Fault("split(): expected a separator, found an empty text");
  std::vector<std::string> parts;
  std::string rest = text;
  for (int64_t i = 0; most < 0 || i < most; ++i) {
    const size_t at = from_right ? rest.rfind(separator) : rest.find(separator);
    if (at == std::string::npos) break;
    parts.push_back(from_right ? rest.substr(at + separator.size()) : rest.substr(0, at));
    rest = from_right ? rest.substr(0, at) : rest.substr(at + separator.size());
  }
  parts.push_back(std::move(rest));
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

Value split(const std::string& text, const std::string& name, const Arguments& arguments, Budget& budget) {
  const Value* separator = arguments.get(0, "sep");
  const Value* limit = arguments.get(1, "maxsplit");
  const int64_t most = limit == nullptr ? -1 : limit->integer("split(): maxsplit");
  if (separator == nullptr || separator->is_none()) {
    if (name == "rsplit" && most >= 0) throw Fault("rsplit() at blanks with a limit is not supported");
    return texts(split_at_blanks(text, most), budget);
  }
  const std::string& by = text_argument(arguments, 0, "sep", name);
  return texts(split_at(text, by, most, name == "rsplit"), budget);
}

bool begins_or_ends(const std::string& text, const Value& with, bool begins) {
  if (const auto* list = with.list()) {
    return std::any_of(list->begin(), list->end(),
                       [&](const Value& one) { return begins_or_ends(text, one, begins); });
  }
  const std::string* part = with.text();
  if (part == nullptr) throw Fault("startswith(), endswith(): expected a text, found {}", with.type());
  if (part->size() > text.size()) return false;
  return text.compare(begins ? 0 : text.size() - part->size(), part->size(), *part) == 0;
}

std::string replaced(const std::string& text, const std::string& old, const std::string& fresh,
                     int64_t most) {
  std::string out;
  if (old.empty()) throw Fault("replace(): expected a text to replace, found an empty one");
  size_t at = 0;
  for (int64_t i = 0; most < 0 || i < most; ++i) {
    const size_t next = text.find(old, at);
    if (next == std::string::npos) break;
    out += text.substr(at, next - at) + fresh;
    at = next + old.size();
    if (out.size() > kMostBytes) throw Fault("replace(): the text becomes too long");
  }
  return out + text.substr(at);
}

template <typename Check>
bool all_characters(const std::string& text, const Check& check) {
  const icu::UnicodeString all = icu::UnicodeString::fromUTF8(text);
  for (int32_t i = 0; i < all.length(); i = all.moveIndex32(i, 1)) {
    if (!check(all.char32At(i))) return false;
  }
  return !text.empty();
}

/// "{} and {0}" with plain fields only.
std::string formatted(const std::string& text, const Arguments& arguments, Budget& budget) {
  std::string out;
  size_t next = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if ((c == '{' || c == '}') && i + 1 < text.size() && text[i + 1] == c) {
      out += c;
      ++i;
      continue;
    }
    if (c != '{') {
      out += c;
      continue;
    }
    const size_t end = text.find('}', i);
    const std::string field = end == std::string::npos ? "?" : text.substr(i + 1, end - i - 1);
    const bool numbered =
        !field.empty() && field.size() < 4 &&
        std::all_of(field.begin(), field.end(), [](char d) { return d >= '0' && d <= '9'; });
    const Value* value = field.empty() ? arguments.get(next++, "")
                         : numbered    ? arguments.get(std::stoul(field), "")
                                       : find(arguments.named, field);
    if (value == nullptr) throw Fault("format(): nothing is given for {{{}}}", field);
    out += budget.text_of(*value);
    i = end;
  }
  return out;
}

Value text_method(const std::string& text, const std::string& name, const Arguments& arguments,
                  Budget& budget) {
  const auto argument = [&](size_t place, const char* key) -> const std::string& {
    return text_argument(arguments, place, key, name);
  };
  if (name == "strip") return Value(stripped(text, arguments.get(0, "chars"), 3));
  if (name == "lstrip") return Value(stripped(text, arguments.get(0, "chars"), 1));
  if (name == "rstrip") return Value(stripped(text, arguments.get(0, "chars"), 2));
  if (name == "split" || name == "rsplit") return split(text, name, arguments, budget);
  if (name == "splitlines") {
    std::vector<std::string> lines = split_at(replaced(text, "\r\n", "\n", -1), "\n", -1, false);
    if (!lines.empty() && lines.back().empty()) lines.pop_back();
    return texts(std::move(lines), budget);
  }
  if (name == "startswith" || name == "endswith") {
    const Value* with = arguments.get(0, "prefix");
    if (with == nullptr) throw Fault("{}(): expected a text", name);
    return Value(begins_or_ends(text, *with, name == "startswith"));
  }
  if (name == "upper" || name == "lower" || name == "title" || name == "capitalize") {
    return apply_filter(name, Value(text), {}, budget);
  }
  if (name == "replace") {
    const Value* count = arguments.get(2, "count");
    return Value(replaced(text, argument(0, "old"), argument(1, "new"),
                          count == nullptr ? -1 : count->integer("replace()")));
  }
  if (name == "join") {
    const Value* items = arguments.get(0, "iterable");
    if (items == nullptr) throw Fault("join(): expected a list");
    return apply_filter("join", *items, {{Value(text)}, {}}, budget);
  }
  if (name == "find" || name == "rfind" || name == "index") {
    const size_t at = name == "rfind" ? text.rfind(argument(0, "sub")) : text.find(argument(0, "sub"));
    if (at == std::string::npos && name == "index") throw Fault("index(): the text is not found");
    if (at == std::string::npos) return Value(int64_t{-1});
    return Value(static_cast<int64_t>(characters(std::string_view(text).substr(0, at)).size()));
  }
  if (name == "count") {
    return Value(static_cast<int64_t>(split_at(text, argument(0, "sub"), -1, false).size()) - 1);
  }
  if (name == "removeprefix" || name == "removesuffix") {
    const std::string& part = argument(0, "part");
    const bool front = name == "removeprefix";
    if (!begins_or_ends(text, Value(part), front)) return Value(text);
    return Value(front ? text.substr(part.size()) : text.substr(0, text.size() - part.size()));
  }
  if (name == "isdigit") return Value(all_characters(text, [](UChar32 c) { return u_isdigit(c) != 0; }));
  if (name == "isalpha") return Value(all_characters(text, [](UChar32 c) { return u_isalpha(c) != 0; }));
  if (name == "isalnum") return Value(all_characters(text, [](UChar32 c) { return u_isalnum(c) != 0; }));
  if (name == "isspace")
    return Value(all_characters(text, [](UChar32 c) { return u_isUWhiteSpace(c) != 0; }));
  if (name == "format") return Value(formatted(text, arguments, budget));
  throw Fault("a text has no method {}() here", name);
}

}  // namespace

void Budget::step() {
  if (++steps_ > kMostSteps) throw Fault("it takes more than {} steps", kMostSteps);
}

void Budget::bytes(size_t count) {
  bytes_ += count;
  if (count > kMostBytes || bytes_ > kMostBytes)
    throw Fault("it makes more than {} MiB of text", kMostBytes >> 20);
}

std::string Budget::text_of(const Value& value) {
  if (value.list() != nullptr || value.dict() != nullptr) container_ = true;
  std::string text = to_text(value);
  bytes(text.size());
  return text;
}

const Value* Arguments::get(size_t place, const char* name) const {
  return place < values.size() ? &values[place] : find(named, name);
}

std::string stripped(const std::string& text, const Value* what, int sides) {
  std::vector<std::string_view> all = characters(text);
  std::vector<std::string_view> unwanted;
  if (what != nullptr && !what->is_none()) {
    if (what->text() == nullptr) throw Fault("strip(): expected a text, found {}", what->type());
    unwanted = characters(*what->text());
  }
  const auto strips = [&](std::string_view c) {
    if (what == nullptr || what->is_none()) return is_white(c);
    return std::find(unwanted.begin(), unwanted.end(), c) != unwanted.end();
  };
  size_t first = 0, last = all.size();
  while ((sides & 1) != 0 && first < last && strips(all[first])) ++first;
  while ((sides & 2) != 0 && last > first && strips(all[last - 1])) --last;
  std::string out;
  for (size_t i = first; i < last; ++i) out += all[i];
  return out;
}

Value call_method(const Value& self, const std::string& name, const Arguments& arguments, Budget& budget) {
  if (const std::string* text = self.text()) {
    Value made = text_method(*text, name, arguments, budget);
    if (made.text() != nullptr) budget.bytes(made.text()->size());
    return made;
  }
  if (const auto* dict = self.dict()) {
    if (name == "items") return apply_filter("items", self, {}, budget);
    if (name == "keys") return Value(items_of(self, budget));
    if (name == "values") {
      std::vector<Value> values;
      for (const auto& [key, value] : *dict) values.push_back(value);
      budget.bytes(values.size() * sizeof(Value));
      return Value(std::move(values));
    }
    if (name == "get") {
      const Value* key = arguments.get(0, "key");
      const Value* usual = arguments.get(1, "default");
      const Value* found = key != nullptr && key->text() != nullptr ? find(*dict, *key->text()) : nullptr;
      return found != nullptr ? *found : usual != nullptr ? *usual : Value();
    }
  }
  if (const auto* list = self.list()) {
    const Value* sought = arguments.get(0, "value");
    if (name == "count" && sought != nullptr) {
      return Value(static_cast<int64_t>(std::count_if(
          list->begin(), list->end(), [&](const Value& item) { return equal(item, *sought); })));
    }
    if (name == "index" && sought != nullptr) {
      const auto found =
          std::find_if(list->begin(), list->end(), [&](const Value& item) { return equal(item, *sought); });
      if (found == list->end()) throw Fault("index(): the value is not in the list");
      return Value(static_cast<int64_t>(found - list->begin()));
    }
  }
  if (const auto* undefined = self.as<Undefined>()) throw Fault("'{}' is undefined", undefined->name);
  throw Fault("{} has no method {}() here", self.type(), name);
}

bool is_function(const std::string& name) {
  return name == "range" || name == "dict" || name == "namespace" || name == "raise_exception" ||
         name == "strftime_now";
}

Value call_function(const std::string& name, const Arguments& arguments, Budget& budget) {
  if (name == "raise_exception") {
    const Value* message = arguments.get(0, "message");
    throw Refusal(message == nullptr ? "" : to_text(*message));
  }
  if (name == "strftime_now") {
    const std::string& form = text_argument(arguments, 0, "format", name);
    const std::time_t now = std::time(nullptr);
    std::tm local = {};
    localtime_r(&now, &local);
    char buffer[256];
    return Value(std::string(buffer, std::strftime(buffer, sizeof(buffer), form.c_str(), &local)));
  }
  if (name == "range") {
    const size_t given = arguments.values.size();
    if (given < 1 || given > 3) throw Fault("range(): expected one to three numbers, found {}", given);
    const int64_t first = given == 1 ? 0 : arguments.values[0].integer("range()"),
                  last = arguments.values[given == 1 ? 0 : 1].integer("range()"),
                  step = given == 3 ? arguments.values[2].integer("range()") : 1;
    if (step == 0) throw Fault("range(): expected a step other than 0");
    std::vector<Value> numbers;
    for (int64_t at = first; step > 0 ? at < last : at > last;) {
      if (static_cast<int64_t>(numbers.size()) >= kLongestRange) {
        throw Fault("range(): expected at most {} numbers", kLongestRange);
      }
      numbers.emplace_back(at);
      if (__builtin_add_overflow(at, step, &at)) break;
    }
    budget.bytes(numbers.size() * sizeof(Value));
    return Value(std::move(numbers));
  }
  std::vector<std::pair<std::string, Value>> items;
  if (!arguments.values.empty()) {
    const auto* dict = arguments.values.front().dict();
    if (dict == nullptr)
      throw Fault("{}(): expected a dictionary, found {}", name, arguments.values.front().type());
    items = *dict;
  }
  for (const auto& [key, value] : arguments.named) put(items, key, value);
  if (name == "dict") return Value(std::move(items));
  auto space = std::make_shared<Namespace>();
  for (const auto& [key, value] : items) {
    if (value.name_space() != nullptr) throw Fault("a namespace cannot be part of another");
  }
  space->items = std::move(items);
  return Value(std::move(space));
}

Value attribute_of(const Value& object, const std::string& name) {
  if (const auto* undefined = object.as<Undefined>()) throw Fault("'{}' is undefined", undefined->name);
  const Value* found = object.dict() != nullptr         ? find(*object.dict(), name)
                       : object.name_space() != nullptr ? find(object.name_space()->items, name)
                                                        : nullptr;
  return found != nullptr ? *found : Value(Undefined{name});
}

Value item_of(const Value& object, const Value& index) {
  if (const std::string* name = index.text()) return attribute_of(object, *name);
  if (const auto* undefined = object.as<Undefined>()) throw Fault("'{}' is undefined", undefined->name);
  const bool whole = index.as<int64_t>() != nullptr || index.as<bool>() != nullptr;
  if (!whole) return Value(Undefined{to_text(index)});
  const auto at = [&](size_t size) -> std::optional<size_t> {
    const int64_t number = index.integer("index");
    const int64_t place = number < 0 ? number + static_cast<int64_t>(size) : number;
    if (place < 0 || place >= static_cast<int64_t>(size)) return std::nullopt;
    return static_cast<size_t>(place);
  };
  if (const auto* list = object.list()) {
    if (const auto place = at(list->size())) return (*list)[*place];
  } else if (const std::string* text = object.text()) {
    const std::vector<std::string_view> all = characters(*text);
    if (const auto place = at(all.size())) return Value(std::string(all[*place]));
  }
  return Value(Undefined{fmt::format("item {}", to_text(index))});
}

std::vector<Value> items_of(const Value& value, Budget& budget) {
  std::vector<Value> items;
  if (value.is_undefined()) return items;
  if (const auto* list = value.list()) {
    items = *list;
  } else if (const auto* dict = value.dict()) {
    for (const auto& [name, item] : *dict) items.emplace_back(name);
  } else if (const std::string* text = value.text()) {
    for (const std::string_view c : characters(*text)) items.emplace_back(std::string(c));
  } else {
    throw Fault("{} cannot be gone through", value.type());
  }
  budget.bytes(items.size() * sizeof(Value));
  return items;
}

bool contains(const Value& container, const Value& value) {
  if (container.is_undefined()) return false;
  if (const auto* list = container.list()) {
    return std::any_of(list->begin(), list->end(), [&](const Value& item) { return equal(item, value); });
  }
  if (const auto* dict = container.dict())
    return value.text() != nullptr && find(*dict, *value.text()) != nullptr;
  if (const std::string* text = container.text()) {
    if (value.text() == nullptr) throw Fault("in: expected a text, found {}", value.type());
    return text->find(*value.text()) != std::string::npos;
  }
  throw Fault("in: expected a list, a dictionary or a text, found {}", container.type());
}

}  // namespace ropescope::jinja
