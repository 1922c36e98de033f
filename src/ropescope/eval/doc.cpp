#include "ropescope/eval/doc.h"

#include <charconv>
#include <cmath>

#include "ropescope/core/errors.h"

namespace ropescope::eval {

namespace {

const Json& column_of(const Json& doc, const char* column) {
  const auto found = doc.find(column);
  if (found != doc.end() && !found->is_null()) return *found;
  std::string others;
  for (const auto& [name, value] : doc.items()) others += (others.empty() ? "" : ", ") + name;
  throw InputError("doc: the column \"{}\" is missing or empty{}", column,
                   others.empty() ? "" : "; there are " + others);
}

std::string as_text(const Json& value, const char* column) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "True" : "False";
  if (value.is_number()) return value.dump();
  throw InputError("doc: \"{}\": expected a text, found {}", column, value.type_name());
}

}  // namespace

Text doc_text(const Json& doc, const char* column) {
  return from_utf8(as_text(column_of(doc, column), column));
}

std::optional<Text> doc_cell(const Json& doc, const char* column) {
  const auto found = doc.find(column);
  if (found == doc.end() || found->is_null()) return std::nullopt;
  if (found->is_number_float() && !std::isfinite(found->get<double>())) return std::nullopt;
  Text text = from_utf8(as_text(*found, column));
  if (text.empty() || text == U"nan") return std::nullopt;
  return text;
}

std::string doc_key(const Json& doc, const char* column) { return as_text(column_of(doc, column), column); }

int64_t doc_integer(const Json& doc, const char* column) {
  const Json& value = column_of(doc, column);
  if (!value.is_string()) return json_integer(doc, column, "doc");
  const std::string text = to_utf8(strip(from_utf8(value.get<std::string>())));
  int64_t number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc() || end != text.data() + text.size()) {
    throw InputError("doc: \"{}\": expected an integer, found \"{}\"", column, text);
  }
  return number;
}

std::vector<Text> doc_list(const Json& doc, const char* column) {
  const Json& value = column_of(doc, column);
  if (value.is_string()) {
    auto items = parse_string_list(from_utf8(value.get<std::string>()));
    if (!items) throw InputError("doc: \"{}\": expected a list of texts", column);
    return std::move(*items);
  }
  if (!value.is_array()) throw InputError("doc: \"{}\": expected a list of texts", column);
  std::vector<Text> texts;
  for (const Json& item : value) texts.push_back(from_utf8(as_text(item, column)));
  return texts;
}

std::vector<Text> doc_list_or_none(const Json& doc, const char* column) {
  return json_has(doc, column) ? doc_list(doc, column) : std::vector<Text>();
}

std::vector<Option> lettered(const std::vector<Text>& texts) {
  std::vector<Option> options;
  for (const Text& text : texts) {
    options.push_back({static_cast<char32_t>(U'A' + options.size()), text});
  }
  return options;
}

Text option_lines(const std::vector<Option>& options) {
  std::vector<Text> lines;
  for (const Option& option : options) lines.push_back(Text{option.letter} + U". " + option.text);
  return join(lines, U"\n");
}

std::vector<Text> bracketed(const std::vector<Text>& options) {
  std::vector<Text> lines;
  for (const Option& option : lettered(options)) {
    lines.push_back(U"(" + Text{option.letter} + U") " + option.text);
  }
  return lines;
}

char32_t letter_of(int64_t index, size_t options, const char* column) {
  if (index < 0 || index >= static_cast<int64_t>(options)) {
    throw InputError("doc: \"{}\": expected the index of one of {} options, found {}", column, options,
                     index);
  }
  return static_cast<char32_t>(U'A' + index);
}

Json json_letter(std::optional<char32_t> letter) {
  return letter ? Json(to_utf8(Text{*letter})) : Json(nullptr);
}

bool exact_match(TextView output, TextView answer) {
  const auto plain = [](TextView text) {
    Text out;
    for (const char32_t c : lower(text)) {
      const bool punctuation =
          (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126);
      if (!punctuation) out += c;
    }
    return out;
  };
  return plain(output) == plain(answer);
}

}  // namespace ropescope::eval
