#include "ropescope/rope/layout.h"

#include <array>
#include <charconv>
#include <sstream>

#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

constexpr int64_t kLargestSide = 1 << 20;

bool sides_fit(const Segment& segment) {
  for (const int64_t side :
       {segment.grid.t, segment.grid.h, segment.grid.w, segment.high_h, segment.high_w}) {
    if (side < 0 || side > kLargestSide) return false;
  }
  const auto fits = [](int64_t a, int64_t b) { return a == 0 || b <= kMostLayoutTokens / a; };
  return segment.text >= 0 && segment.text <= kMostLayoutTokens && fits(segment.grid.h, segment.grid.w) &&
         fits(segment.grid.h * segment.grid.w, segment.grid.t) && fits(segment.high_h, segment.high_w + 1);
}

// Empty when the segment is possible, else what was expected.
std::string segment_fault(const Segment& segment) {
  if (segment.kind == Segment::Kind::kText && segment.text < 1) return "a text run of at least one token";
  for (const int64_t side : {segment.grid.t, segment.grid.h, segment.grid.w}) {
    if (segment.kind != Segment::Kind::kText && side < 1) return "at least one row, column and frame";
  }
  if (segment.high_h < 0 || segment.high_w < 0) return "no negative number of rows and columns";
  if (!sides_fit(segment)) return fmt::format("no more than {} tokens", kMostLayoutTokens);
  return {};
}

// "24x24" -> {24, 24}; empty if the text has another form.
std::vector<int64_t> parse_sides(const std::string& text) {
  std::vector<int64_t> sides;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, 'x');) {
    int64_t side = 0;
    const auto [end, code] = std::from_chars(part.data(), part.data() + part.size(), side);
    if (code != std::errc() || end != part.data() + part.size() || part.empty()) return {};
    sides.push_back(side);
  }
  if (!text.empty() && text.back() == 'x') return {};
  return sides;
}

[[noreturn]] void refuse(const std::string& part) {
  throw UsageError(
      "layout: expected parts like text:5, image:4x6, video:3x4x6, anyres:24x24+48x48 or "
      "anyres:24x24+48x48:no-newline, found \"{}\"",
      part);
}

Segment parse_anyres(const std::string& value, const std::string& part) {
  Segment segment;
  segment.kind = Segment::Kind::kAnyres;
  std::string sizes = value;
  if (const size_t colon = value.find(':'); colon != std::string::npos) {
    const std::string word = value.substr(colon + 1);
    if (word != "no-newline" && word != "newline") refuse(part);
    segment.newline = word == "newline";
    sizes = value.substr(0, colon);
  }
  const size_t plus = sizes.find('+');
  const std::vector<int64_t> thumbnail = parse_sides(sizes.substr(0, plus));
  if (thumbnail.size() != 2) refuse(part);
  segment.grid = {1, thumbnail[0], thumbnail[1]};
  segment.single_tile = plus == std::string::npos;
  if (!segment.single_tile) {
    const std::vector<int64_t> high = parse_sides(sizes.substr(plus + 1));
    if (high.size() != 2) refuse(part);
    segment.high_h = high[0];
    segment.high_w = high[1];
  }
  return segment;
}

Segment parse_segment(const std::string& part) {
  const size_t colon = part.find(':');
  if (colon == std::string::npos) refuse(part);
  const std::string kind = part.substr(0, colon), value = part.substr(colon + 1);
  Segment segment;
  if (kind == "anyres") {
    segment = parse_anyres(value, part);
  } else {
    const std::vector<int64_t> sides = parse_sides(value);
    if (kind == "text" && sides.size() == 1) {
      segment.text = sides[0];
    } else if (kind == "image" && sides.size() == 2) {
      segment.kind = Segment::Kind::kImage;
      segment.grid = {1, sides[0], sides[1]};
    } else if (kind == "video" && sides.size() == 3) {
      segment.kind = Segment::Kind::kVideo;
      segment.grid = {sides[0], sides[1], sides[2]};
    } else {
      refuse(part);
    }
  }
  if (const std::string fault = segment_fault(segment); !fault.empty()) {
    throw UsageError("layout: expected {}, found \"{}\"", fault, part);
  }
  return segment;
}

Segment segment_from_json(const Json& json, const std::string& what) {
  if (!json.is_object() || json.size() != 1) {
    throw InputError("{}: expected an object with one of text, image, video, anyres, found {}", what,
                     json.dump(-1, ' ', true).substr(0, 80));
  }
  const std::string kind = json.begin().key();
  const Json& value = json.begin().value();
  Segment segment;
  if (kind == "text") {
    segment.text = json_integer(json, "text", what);
  } else if (kind == "image" || kind == "video") {
    segment.kind = kind == "image" ? Segment::Kind::kImage : Segment::Kind::kVideo;
    if (!value.is_object()) throw InputError("{}: expected {{\"t\":...,\"h\":...,\"w\":...}}", what);
    segment.grid = {json_integer_or(value, "t", 1, what), json_integer(value, "h", what),
                    json_integer(value, "w", what)};
  } else if (kind == "anyres") {
    segment.kind = Segment::Kind::kAnyres;
    if (!value.is_object()) throw InputError("{}: expected {{\"h0\":...,\"w0\":...,...}}", what);
    segment.grid = {1, json_integer(value, "h0", what), json_integer(value, "w0", what)};
    segment.single_tile = !value.contains("h1") && !value.contains("w1");
    if (!segment.single_tile) {
      segment.high_h = json_integer(value, "h1", what);
      segment.high_w = json_integer(value, "w1", what);
    }
    segment.newline = json_bool_or(value, "newline", true, what);
  } else {
    throw InputError("{}: expected text, image, video or anyres, found \"{}\"", what, kind.substr(0, 40));
  }
  if (const std::string fault = segment_fault(segment); !fault.empty()) {
    throw InputError("{}: expected {}, found {}", what, fault, json.dump(-1, ' ', true).substr(0, 120));
  }
  return segment;
}

Layout layout_from_json(const Json& segments, const std::string& name, const std::string& what) {
  if (!segments.is_array() || segments.empty()) {
    throw InputError("{}: expected a list of segments, found none", what);
  }
  Layout layout;
  layout.name = name;
  for (size_t i = 0; i < segments.size(); ++i) {
    layout.segments.push_back(segment_from_json(segments[i], fmt::format("{}, segment {}", what, i)));
    if (layout.tokens() > kMostLayoutTokens) {
      throw InputError("{}: expected no more than {} tokens, found more", what, kMostLayoutTokens);
    }
  }
  return layout;
}

}  // namespace

int64_t Layout::tokens() const {
  int64_t sum = 0;
  for (const Segment& segment : segments) sum += segment.tokens();
  return sum;
}

Layout parse_layout(const std::string& text) {
  Layout layout;
  layout.name = text;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) {
    layout.segments.push_back(parse_segment(part));
    if (layout.tokens() > kMostLayoutTokens) {
      throw UsageError("layout: expected no more than {} tokens, found more", kMostLayoutTokens);
    }
  }
  // getline gives no last part to a text that ends in a comma.
  if (layout.segments.empty() || text.back() == ',') refuse(text);
  return layout;
}

std::vector<Layout> layouts_from_json(const Json& json, const std::string& what) {
  if (json.is_array()) return {layout_from_json(json, what, what)};
  if (json.is_object() && json.contains("segments")) {
    return {layout_from_json(json["segments"], json_string_or(json, "name", what, what), what)};
  }
  if (!json.is_object() || !json.contains("layouts") || !json["layouts"].is_array()) {
    throw InputError("{}: expected a list of segments or {{\"layouts\":[...]}}, found neither", what);
  }
  std::vector<Layout> layouts;
  for (const Json& item : json["layouts"]) {
    const std::string where = fmt::format("{}, layout {}", what, layouts.size());
    if (!item.is_object() || !item.contains("segments")) {
      throw InputError("{}: expected an object with name and segments", where);
    }
    layouts.push_back(layout_from_json(item["segments"], json_string_or(item, "name", where, where), where));
  }
  if (layouts.empty()) throw InputError("{}: expected at least one layout, found none", what);
  return layouts;
}

std::string layout_text(const Layout& layout) {
  std::string text;
  for (const Segment& s : layout.segments) {
    if (!text.empty()) text += ',';
    switch (s.kind) {
      case Segment::Kind::kText:
        text += fmt::format("text:{}", s.text);
        break;
      case Segment::Kind::kImage:
        // An image of several frames has no form of its own; its tokens are those of a video.
        text += s.grid.t == 1 ? fmt::format("image:{}x{}", s.grid.h, s.grid.w)
                              : fmt::format("video:{}x{}x{}", s.grid.t, s.grid.h, s.grid.w);
        break;
      case Segment::Kind::kVideo:
        text += fmt::format("video:{}x{}x{}", s.grid.t, s.grid.h, s.grid.w);
        break;
      case Segment::Kind::kAnyres:
        text += fmt::format("anyres:{}x{}", s.grid.h, s.grid.w);
        if (!s.single_tile) text += fmt::format("+{}x{}", s.high_h, s.high_w);
        if (!s.newline) text += ":no-newline";
        break;
    }
  }
  return text;
}

}  // namespace ropescope
