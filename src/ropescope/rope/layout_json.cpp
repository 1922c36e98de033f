#include <algorithm>
#include <optional>

#include "ropescope/core/errors.h"
#include "ropescope/rope/layout_checks.h"

namespace ropescope {

namespace {

Piece piece_from_json(const Json& item, const Grid& thumbnail, const std::string& what) {
  const bool named = item.is_array() && !item.empty() && item[0].is_string();
  const std::optional<Piece::Role> role = named ? role_of(item[0].get<std::string>()) : std::nullopt;
  std::vector<int64_t> numbers;
  for (size_t i = 1; role && i < item.size(); ++i) {
    if (item[i].is_number_integer()) numbers.push_back(item[i].get<int64_t>());
  }
  const size_t wanted = !role                              ? 0
                        : *role == Piece::Role::kThumbnail ? 0
                        : *role == Piece::Role::kTile      ? 4
                                                           : 1;
  const auto fits = [](int64_t number) { return number >= 0 && number <= kMostLayoutTokens; };
  if (!role || numbers.size() != item.size() - 1 || numbers.size() != wanted ||
      !std::all_of(numbers.begin(), numbers.end(), fits)) {
    throw InputError(
        "{}: expected pieces like [\"before\",2], [\"tile\",row,column,h,w], [\"thumbnail\"], [\"after\",1], "
        "[\"text\",3], found {}",
        what, item.dump(-1, ' ', true).substr(0, 80));
  }
  if (*role == Piece::Role::kThumbnail) return {*role, thumbnail.tokens(), 0, 0, thumbnail.h, thumbnail.w};
  if (*role == Piece::Role::kTile) {
    return {*role, numbers[2] * numbers[3], numbers[0], numbers[1], numbers[2], numbers[3]};
  }
  return {*role, numbers[0]};
}

/// "order" with its counts, or "pieces". The block has its grids.
void read_pieces(Segment& segment, const Json& value, const std::string& what) {
  const auto expect = [&](bool holds, const std::string& expected) {
    if (!holds) {
      throw InputError("{}: expected {}, found {}", what, expected, value.dump(-1, ' ', true).substr(0, 120));
    }
  };
  const bool ordered = value.contains("order");
  TiledPicture tiling;
  for (const TilingCount& known : kTilingCounts) {
    expect(ordered || !value.contains(known.name), "an \"order\" beside counts of separators");
    tiling.*known.count = json_integer_or(value, known.name, 0, what);
  }
  if (!ordered && !value.contains("pieces")) return;
  expect(!(ordered && value.contains("pieces")), "\"order\" or \"pieces\", not both");
  expect(!segment.single_tile, "a high-resolution grid with tiles");
  expect(!json_bool_or(value, "newline", false, what), "no newline tokens between tiles");
  segment.newline = false;
  const std::string fault = segment_fault(segment);
  expect(fault.empty(), fault);
  if (ordered) {
    const std::string order = json_string_or(value, "order", "", what);
    expect(order == "tiles-first" || order == "thumbnail-first", "order tiles-first or thumbnail-first");
    tiling.tiles_first = order == "tiles-first";
    const std::string tiles_fault = lay_tiles(segment, tiling);
    expect(tiles_fault.empty(), tiles_fault);
    return;
  }
  expect(value["pieces"].is_array() && !value["pieces"].empty(), "a list of pieces");
  for (const Json& item : value["pieces"]) {
    segment.pieces.push_back(piece_from_json(item, segment.grid, what));
  }
}

Members members_from_json(const Json& value, const std::string& what) {
  const auto refuse = [&](const Json& found) {
    throw InputError("{}: expected members like [[15,11],[7],[0]], found {}", what,
                     found.dump(-1, ' ', true).substr(0, 80));
  };
  if (!value.contains("members") || !value["members"].is_array()) refuse(value);
  Members all;
  for (const Json& item : value["members"]) {
    if (!item.is_array()) refuse(item);
    all.emplace_back();
    for (const Json& member : item) {
      if (!member.is_number_integer()) refuse(item);
      all.back().push_back(member.get<int64_t>());
    }
  }
  return all;
}

Segment segment_from_json(const Json& json, const std::string& what) {
  if (!json.is_object() || json.size() != 1) {
    throw InputError("{}: expected an object with one of text, image, video, anyres, merged, found {}", what,
                     json.dump(-1, ' ', true).substr(0, 80));
  }
  const std::string kind = json.begin().key();
  const Json& value = json.begin().value();
  Segment segment;
  if (kind == "text") {
    segment.text = json_integer(json, "text", what);
  } else if (kind == "image" || kind == "video" || kind == "merged") {
    segment.kind = kind == "image"   ? Segment::Kind::kImage
                   : kind == "video" ? Segment::Kind::kVideo
                                     : Segment::Kind::kMerged;
    if (!value.is_object()) throw InputError("{}: expected {{\"t\":...,\"h\":...,\"w\":...}}", what);
    segment.grid = {json_integer_or(value, "t", 1, what), json_integer(value, "h", what),
                    json_integer(value, "w", what)};
    if (value.contains("step")) segment.grid.step = json_number(value, "step", what);
    if (kind == "merged") segment.members = members_from_json(value, what);
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
    read_pieces(segment, value, what);
  } else {
    throw InputError("{}: expected text, image, video, anyres or merged, found \"{}\"", what,
                     kind.substr(0, 40));
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

}  // namespace ropescope
