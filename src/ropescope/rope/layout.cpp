#include "ropescope/rope/layout.h"

#include <charconv>
#include <optional>
#include <sstream>

#include <fmt/ranges.h>

#include "ropescope/core/errors.h"
#include "ropescope/rope/layout_checks.h"

namespace ropescope {

namespace {

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
      "layout: expected parts like text:5, image:4x6, video:3x4x6, anyres:24x24+48x48, "
      "anyres:24x24+48x48:no-newline or anyres:16x16+32x48:tiles-first, found \"{}\"",
      part);
}

[[noreturn]] void refuse_segment(const std::string& expected, const std::string& part) {
  throw UsageError("layout: expected {}, found \"{}\"", expected, part);
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> words;
  std::stringstream stream(text);
  for (std::string word; std::getline(stream, word, separator);) words.push_back(word);
  if (text.empty() || text.back() == separator) words.emplace_back();
  return words;
}

/// What stands behind the sizes of an anyres block.
struct AnyresWords {
  bool newline = true;
  std::optional<bool> tiles_first;
  TiledPicture counts;
  std::string pieces;
};

void take_word(AnyresWords& words, const std::string& word, const std::string& part) {
  if (word == "no-newline" || word == "newline") {
    words.newline = word == "newline";
    return;
  }
  if (word == "tiles-first" || word == "thumbnail-first") {
    words.tiles_first = word == "tiles-first";
    return;
  }
  const size_t equals = word.find('=');
  const std::string name = word.substr(0, equals),
                    value = equals == std::string::npos ? "" : word.substr(equals + 1);
  if (name == "pieces") {
    words.pieces = value;
    return;
  }
  const std::vector<int64_t> count = parse_sides(value);
  for (const TilingCount& known : kTilingCounts) {
    if (name != known.name || count.size() != 1) continue;
    words.counts.*known.count = count.front();
    return;
  }
  refuse(part);
}

bool any_count(const TiledPicture& tiling) {
  bool any = false;
  for (const TilingCount& known : kTilingCounts) any = any || tiling.*known.count != 0;
  return any;
}

Segment parse_anyres(const std::string& value, const std::string& part) {
  Segment segment;
  segment.kind = Segment::Kind::kAnyres;
  const std::vector<std::string> all = split(value, ':');
  AnyresWords words;
  for (size_t i = 1; i < all.size(); ++i) take_word(words, all[i], part);
  const std::string& sizes = all.front();
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
  const bool tiled = words.tiles_first || !words.pieces.empty();
  if (!tiled && any_count(words.counts)) refuse_segment("tiles-first or thumbnail-first with counts", part);
  if (words.tiles_first && !words.pieces.empty()) refuse_segment("an order or pieces, not both", part);
  if (tiled && segment.single_tile) refuse_segment("a high-resolution grid with tiles", part);
  segment.newline = words.newline && !tiled;
  if (const std::string fault = segment_fault(segment); !fault.empty()) refuse_segment(fault, part);
  if (words.tiles_first) {
    words.counts.tiles_first = *words.tiles_first;
    if (const std::string fault = lay_tiles(segment, words.counts); !fault.empty())
      refuse_segment(fault, part);
  } else if (tiled) {
    const auto pieces = parse_pieces(words.pieces, segment.grid);
    if (!pieces) {
      refuse_segment(
          "pieces like before2/tile0.0.16.16/after1/thumbnail/text3 (a tile's row, column, rows, "
          "columns)",
          part);
    }
    segment.pieces = *pieces;
  }
  return segment;
}

double parse_step(const std::string& text, const std::string& part) {
  double step = 0;
  const char* const end = text.data() + text.size();
  const auto [last, code] = std::from_chars(text.data(), end, step);
  if (code != std::errc() || last != end) refuse(part);
  return step;
}

/// "3x4x6", or "3x4x6:step=2.5".
Grid parse_clip(const std::string& value, const std::string& part) {
  const size_t colon = value.find(':');
  const std::vector<int64_t> sides = parse_sides(value.substr(0, colon));
  if (sides.size() != 3) refuse(part);
  Grid grid{sides[0], sides[1], sides[2]};
  if (colon == std::string::npos) return grid;
  const std::string word = value.substr(colon + 1);
  if (word.rfind("step=", 0) != 0) refuse(part);
  grid.step = parse_step(word.substr(5), part);
  return grid;
}

/// "tiles:2x3x16x16" and "thumbnail:16x16", in either order, are one picture.
Segment parse_tiles(const std::string& first, const std::string& second) {
  const std::string part = first + "," + second;
  const auto value = [](const std::string& text) { return text.substr(text.find(':') + 1); };
  const bool tiles_first = first.rfind("tiles:", 0) == 0;
  const std::string &tiles = tiles_first ? first : second, &other = tiles_first ? second : first;
  if (tiles.rfind("tiles:", 0) != 0 || other.rfind("thumbnail:", 0) != 0) {
    refuse_segment("tiles:2x3x16x16 beside thumbnail:16x16, which are one picture", part);
  }
  const std::vector<int64_t> sides = parse_sides(value(tiles)), thumbnail = parse_sides(value(other));
  if (sides.size() != 4 || thumbnail.size() != 2) {
    refuse_segment("tiles:2x3x16x16 (rows and columns of tiles, and of tokens) and thumbnail:16x16", part);
  }
  TiledPicture tiling{{1, thumbnail[0], thumbnail[1]}, sides[0], sides[1], sides[2], sides[3], tiles_first};
  if (sides[2] < 1 || sides[3] < 1) refuse_segment("tiles of at least one row and column", part);
  try {
    return tiled_segment(tiling);
  } catch (const InputError& error) {
    refuse_segment(fmt::format("a picture that can be ({})", error.what()), part);
  }
}

bool begins_tiles(const std::string& part) {
  return part.rfind("tiles:", 0) == 0 || part.rfind("thumbnail:", 0) == 0;
}

/// "4x6:members=15.11/7/0", or three sides of a clip.
Segment parse_merged(const std::string& value, const std::string& part) {
  Segment segment;
  segment.kind = Segment::Kind::kMerged;
  const std::vector<std::string> words = split(value, ':');
  std::vector<int64_t> sides = parse_sides(words.front());
  if (sides.size() == 2) sides.insert(sides.begin(), 1);
  if (sides.size() != 3) refuse(part);
  segment.grid = {sides[0], sides[1], sides[2]};
  for (size_t i = 1; i < words.size(); ++i) {
    const std::string& word = words[i];
    const std::string given = word.substr(word.find('=') + 1);
    if (word.rfind("step=", 0) == 0) {
      segment.grid.step = parse_step(given, part);
    } else if (word.rfind("members=", 0) == 0 && segment.members.empty()) {
      for (const std::string& token : split(given, '/')) {
        segment.members.emplace_back();
        for (const std::string& member : split(token, '.')) {
          const std::vector<int64_t> number = parse_sides(member);
          if (number.size() != 1) refuse(part);
          segment.members.back().push_back(number.front());
        }
      }
    } else {
      refuse(part);
    }
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
  } else if (kind == "merged") {
    segment = parse_merged(value, part);
  } else if (kind == "video") {
    segment.kind = Segment::Kind::kVideo;
    segment.grid = parse_clip(value, part);
  } else {
    const std::vector<int64_t> sides = parse_sides(value);
    if (kind == "text" && sides.size() == 1) {
      segment.text = sides[0];
    } else if (kind == "image" && sides.size() == 2) {
      segment.kind = Segment::Kind::kImage;
      segment.grid = {1, sides[0], sides[1]};
    } else {
      refuse(part);
    }
  }
  if (const std::string fault = segment_fault(segment); !fault.empty()) {
    refuse_segment(fault, part);
  }
  return segment;
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
    std::string second;
    if (begins_tiles(part)) std::getline(stream, second, ',');
    layout.segments.push_back(begins_tiles(part) ? parse_tiles(part, second) : parse_segment(part));
    if (layout.tokens() > kMostLayoutTokens) {
      throw UsageError("layout: expected no more than {} tokens, found more", kMostLayoutTokens);
    }
  }
  // getline gives no last part to a text that ends in a comma.
  if (layout.segments.empty() || text.back() == ',') refuse(text);
  return layout;
}

namespace {

std::string clip_text(const Grid& grid) {
  const std::string text = fmt::format("video:{}x{}x{}", grid.t, grid.h, grid.w);
  return grid.step > 0 ? text + fmt::format(":step={}", grid.step) : text;
}

std::string merged_text(const Segment& s) {
  std::string text = fmt::format("merged:{}x{}x{}", s.grid.t, s.grid.h, s.grid.w);
  if (s.grid.step > 0) text += fmt::format(":step={}", s.grid.step);
  text += ":members=";
  for (const std::vector<int64_t>& members : s.members) {
    text += fmt::format("{}{}", &members == &s.members.front() ? "" : "/", fmt::join(members, "."));
  }
  return text;
}

std::string anyres_text(const Segment& s) {
  std::string text = fmt::format("anyres:{}x{}", s.grid.h, s.grid.w);
  if (!s.single_tile) text += fmt::format("+{}x{}", s.high_h, s.high_w);
  if (s.pieces.empty()) return s.newline ? text : text + ":no-newline";
  const std::optional<TiledPicture> tiling = tiling_of(s);
  if (!tiling || tiling->tile_h != s.grid.h || tiling->tile_w != s.grid.w) {
    return text + ":pieces=" + pieces_text(s.pieces);
  }
  text += tiling->tiles_first ? ":tiles-first" : ":thumbnail-first";
  for (const TilingCount& known : kTilingCounts) {
    const int64_t count = *tiling.*known.count;
    if (count > 0) text += fmt::format(":{}={}", known.name, count);
  }
  return text;
}

}  // namespace

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
        text += s.grid.t == 1 ? fmt::format("image:{}x{}", s.grid.h, s.grid.w) : clip_text(s.grid);
        break;
      case Segment::Kind::kVideo:
        text += clip_text(s.grid);
        break;
      case Segment::Kind::kAnyres:
        text += anyres_text(s);
        break;
      case Segment::Kind::kMerged:
        text += merged_text(s);
        break;
    }
  }
  return text;
}

}  // namespace ropescope
