#include "ropescope/eval/box_text.h"

#include <algorithm>
#include <string>

#include "ropescope/core/json.h"

namespace ropescope::eval {

namespace {

/// `count` numbers between `open` and `close`, separated by commas or blanks.
bool read_list(TextView text, size_t& at, char32_t open, char32_t close, double* numbers, size_t count) {
  if (at >= text.size() || text[at] != open) return false;
  ++at;
  for (size_t i = 0; i < count; ++i) {
    at = past_blanks(text, at);
    if (i > 0 && at < text.size() && text[at] == U',') ++at;
    at = past_blanks(text, at);
    const auto number = read_decimal(text, at);
    if (!number) return false;
    numbers[i] = *number;
  }
  at = past_blanks(text, at);
  if (at >= text.size() || text[at] != close) return false;
  ++at;
  return true;
}

std::optional<Box> square_box(TextView text, size_t at) {
  Box box{};
  return read_list(text, at, U'[', U']', box.data(), 4) ? std::optional(box) : std::nullopt;
}

/// (left, top), (right, bottom): Qwen2-VL's form.
std::optional<Box> two_points(TextView text, size_t at) {
  Box box{};
  if (!read_list(text, at, U'(', U')', box.data(), 2)) return std::nullopt;
  at = past_blanks(text, at);
  if (at < text.size() && text[at] == U',') ++at;
  at = past_blanks(text, at);
  return read_list(text, at, U'(', U')', box.data() + 2, 2) ? std::optional(box) : std::nullopt;
}

}  // namespace

std::optional<Box> read_marked_box(TextView output) {
  for (size_t at = 0; at < output.size(); ++at) {
    if (output[at] == U'[') {
      if (const auto box = square_box(output, at)) return box;
    } else if (output[at] == U'(') {
      if (const auto box = two_points(output, at)) return box;
    }
  }
  return std::nullopt;
}

namespace {

using OrderedJson = nlohmann::ordered_json;

/// Python's float() of a number, a truth value or a text; none for anything else.
std::optional<double> as_float(const OrderedJson& value) {
  if (value.is_number()) return value.get<double>();
  if (value.is_boolean()) return value.get<bool>() ? 1.0 : 0.0;
  if (value.is_string()) return parse_float(from_utf8(value.get<std::string>()));
  return std::nullopt;
}

std::optional<Box> four_floats(const OrderedJson& list) {
  if (!list.is_array() || list.size() != 4) return std::nullopt;
  Box box{};
  for (size_t i = 0; i < 4; ++i) {
    const auto number = as_float(list[i]);
    if (!number) return std::nullopt;
    box[i] = *number;
  }
  return box;
}

/// A list of four numbers is a box, and so is what an object holds under one of seven names; else their parts are looked at.
void collect(const OrderedJson& value, std::vector<Box>& boxes) {
  if (value.is_array()) {
    const bool numbers = value.size() == 4 && std::all_of(value.begin(), value.end(), [](const auto& item) {
                           return item.is_number() || item.is_boolean();
                         });
    if (numbers) {
      boxes.push_back(*four_floats(value));
    } else {
      for (const OrderedJson& item : value) collect(item, boxes);
    }
  } else if (value.is_object()) {
    for (const char* name : {"bbox_2d", "bbox", "box", "coordinates", "coord", "location", "position"}) {
      const auto found = value.find(name);
      const auto box = found == value.end() ? std::nullopt : four_floats(*found);
      if (box) {
        boxes.push_back(*box);
        return;
      }
    }
    for (const auto& item : value.items()) collect(item.value(), boxes);
  }
}

/// None for text that is no JSON, or nests deeper than any answer does.
std::optional<OrderedJson> parsed(TextView text) {
  constexpr int kDeepest = 64;
  int depth = 0;
  for (const char32_t c : text) {
    depth += c == U'[' || c == U'{' ? 1 : c == U']' || c == U'}' ? -1 : 0;
    if (depth > kDeepest) return std::nullopt;
  }
  OrderedJson value = OrderedJson::parse(to_utf8(text), nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) return std::nullopt;
  return value;
}

/// What stands in the first pair of ```, without the word json behind the opening one.
std::optional<Text> fenced(TextView text) {
  constexpr TextView kFence = U"```", kWord = U"json";
  const size_t open = text.find(kFence);
  const size_t close = open == TextView::npos ? open : text.find(kFence, open + kFence.size());
  if (close == TextView::npos) return std::nullopt;
  TextView inside = text.substr(open + kFence.size(), close - open - kFence.size());
  if (lower(inside.substr(0, kWord.size())) == kWord) inside.remove_prefix(kWord.size());
  return Text(strip(inside));
}

/// The first JSON text among: the fence, the whole, from the first [ to the last ], from the first { to the last }.
std::optional<OrderedJson> json_in(TextView text) {
  if (const auto inside = fenced(text)) {
    if (auto value = parsed(*inside)) return value;
  }
  if (auto value = parsed(text)) return value;
  for (const auto& [open, close] : {std::pair(U'[', U']'), std::pair(U'{', U'}')}) {
    const size_t first = text.find(open), last = text.rfind(close);
    if (first == TextView::npos || last == TextView::npos || last <= first) continue;
    if (auto value = parsed(text.substr(first, last - first + 1))) return value;
  }
  return std::nullopt;
}

/// Four numbers from `at` on, blanks or one comma between them; `at` moves behind them.
std::optional<Box> loose_box(TextView text, size_t& at) {
  size_t place = at;
  if (place < text.size() && text[place] == U'[') ++place;
  Box box{};
  for (size_t i = 0; i < 4; ++i) {
    const size_t before = place;
    place = past_blanks(text, place);
    if (i > 0) {
      if (place < text.size() && text[place] == U',') {
        ++place;
        place = past_blanks(text, place);
      } else if (place == before) {
        return std::nullopt;
      }
    }
    const auto number = read_decimal(text, place);
    if (!number) return std::nullopt;
    box[i] = *number;
  }
  place = past_blanks(text, place);
  if (place < text.size() && text[place] == U']') ++place;
  at = place;
  return box;
}

}  // namespace

std::vector<Box> harness_boxes(TextView output) {
  std::vector<Box> boxes;
  if (const auto value = json_in(strip(output))) collect(*value, boxes);
  if (!boxes.empty()) return boxes;
  for (size_t at = 0; at < output.size();) {
    if (const auto box = loose_box(output, at)) {
      boxes.push_back(*box);
    } else {
      ++at;
    }
  }
  return boxes;
}

}  // namespace ropescope::eval
