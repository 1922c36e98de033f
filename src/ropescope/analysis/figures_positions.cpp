#include "ropescope/analysis/figures_positions.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <utility>

#include "ropescope/analysis/figure_data.h"
#include "ropescope/core/errors.h"
#include "ropescope/io/figure_mosaic.h"
#include "ropescope/rope/tiled_block.h"

namespace ropescope {

namespace {

constexpr size_t kMostPositionPanels = 36, kMostTiles = 48;
constexpr int64_t kMostFrames = 6;
constexpr int64_t kCornerCells = 3, kMostCornerTokens = 9;
/// Tiles are divided among panels at this height, and drawn as high as they then fit.
constexpr double kTileCm = 2.35;
/// A strip of more cells than this has finer ones than a printer's dots.
constexpr int64_t kMostStripCells = 1000;

/// Ids of one axis, cut into tiles.
class TileMaker {
 public:
  explicit TileMaker(const double* ids) : ids_(ids) {}

  /// `stride`: tokens from one row to the next.
  Mosaic::Tile grid(const std::string& title, int64_t first, int64_t rows, int64_t columns,
                    int64_t stride) const {
    return cells(title, rows, columns,
                 [&](int64_t row, int64_t column) { return first + row * stride + column; });
  }

  /// `token` of row and column.
  template <typename TokenOf>
  Mosaic::Tile cells(const std::string& title, int64_t rows, int64_t columns, const TokenOf& token) const {
    Mosaic::Tile tile;
    tile.rows = rows;
    tile.columns = columns;
    tile.title = title;
    tile.width = static_cast<double>(columns) / static_cast<double>(rows);
    tile.values.reserve(static_cast<size_t>(rows * columns));
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t column = 0; column < columns; ++column) tile.values.push_back(ids_[token(row, column)]);
    }
    const auto [low, high] = std::minmax_element(tile.values.begin(), tile.values.end());
    const auto shown = [](double id) { return fmt::format("{:g}", std::round(id * 100) / 100); };
    tile.caption = *low == *high ? shown(*low) : fmt::format("{} … {}", shown(*low), shown(*high));
    return tile;
  }

  Mosaic::Tile strip(const std::string& title, int64_t first, int64_t tokens, int64_t stride) const {
    return thinned(grid(title, first, tokens, 1, stride));
  }

  Mosaic::Tile strip(const std::string& title, const std::vector<int64_t>& tokens) const {
    return thinned(cells(title, static_cast<int64_t>(tokens.size()), 1,
                         [&](int64_t row, int64_t) { return tokens[static_cast<size_t>(row)]; }));
  }

 private:
  static Mosaic::Tile thinned(Mosaic::Tile tile) {
    const int64_t tokens = tile.rows;
    tile.width = 0;
    if (tokens > kMostStripCells) {
      std::vector<double> thinned;
      for (const int64_t i : spread_indices(tokens, kMostStripCells)) {
        thinned.push_back(tile.values[static_cast<size_t>(i)]);
      }
      tile.values = std::move(thinned);
      tile.rows = static_cast<int64_t>(tile.values.size());
    }
    return tile;
  }

  const double* ids_;
};

std::string size_text(int64_t rows, int64_t columns) { return fmt::format("{}×{}", rows, columns); }

void add_grid(const TileMaker& maker, const Segment& segment, int64_t first,
              std::vector<Mosaic::Tile>& tiles) {
  const Grid& grid = segment.grid;
  if (grid.t == 1) {
    tiles.push_back(maker.grid("image " + size_text(grid.h, grid.w), first, grid.h, grid.w, grid.w));
    return;
  }
  for (const int64_t frame : spread_indices(grid.t, kMostFrames)) {
    tiles.push_back(
        maker.grid(fmt::format("frame {}", frame), first + frame * grid.h * grid.w, grid.h, grid.w, grid.w));
  }
}

/// In the order of the sequence: the tiles as the one grid that they make, beside it a strip of all separators.
void add_pieces(const TileMaker& maker, const Segment& segment, int64_t first,
                std::vector<Mosaic::Tile>& tiles) {
  const BlockTokens tokens(segment);
  const Grid& grid = segment.grid;
  std::vector<int64_t> separators;
  int64_t token = first;
  size_t behind_tiles = 0;
  for (const Piece& piece : segment.pieces) {
    if (piece.role == Piece::Role::kThumbnail) {
      tiles.push_back(maker.grid("thumbnail " + size_text(grid.h, grid.w), token, grid.h, grid.w, grid.w));
    } else if (piece.role == Piece::Role::kText) {
      tiles.push_back(maker.strip("text", token, piece.tokens, 1));
    } else if (piece.is_separator()) {
      for (int64_t i = 0; i < piece.tokens; ++i) separators.push_back(token + i);
    }
    token += piece.tokens;
    if (piece.role != Piece::Role::kTile || behind_tiles > 0) continue;
    tiles.push_back(
        maker.cells("tiles " + size_text(segment.high_h, segment.high_w), segment.high_h, segment.high_w,
                    [&](int64_t row, int64_t column) { return first + tokens.high(row, column); }));
    behind_tiles = tiles.size();
  }
  if (separators.empty()) return;
  tiles.insert(tiles.begin() + static_cast<std::ptrdiff_t>(behind_tiles),
               maker.strip("separators", separators));
}

void add_anyres(const TileMaker& maker, const Segment& segment, int64_t first,
                std::vector<Mosaic::Tile>& tiles) {
  if (!segment.pieces.empty()) return add_pieces(maker, segment, first, tiles);
  const Grid& grid = segment.grid;
  tiles.push_back(maker.grid("thumbnail " + size_text(grid.h, grid.w), first, grid.h, grid.w, grid.w));
  const int64_t high = first + grid.tokens(), stride = segment.high_w + (segment.newline ? 1 : 0);
  if (segment.high_h * segment.high_w > 0) {
    tiles.push_back(maker.grid("high-res " + size_text(segment.high_h, segment.high_w), high, segment.high_h,
                               segment.high_w, stride));
  }
  if (segment.newline_tokens() == 0) return;
  const bool column = segment.high_h * segment.high_w > 0;
  tiles.push_back(
      maker.strip("⏎", high + segment.high_w, segment.newline_tokens(), segment.single_tile ? 1 : stride));
  tiles.back().joined = column;
  if (column) tiles.back().caption.clear();
}

/// The same corner of the picture in both grids, with its ids.
void add_corner(const TileMaker& maker, const Segment& segment, int64_t first,
                std::vector<Mosaic::Tile>& tiles) {
  const Grid& grid = segment.grid;
  const int64_t rows = std::min(grid.h, kCornerCells), columns = std::min(grid.w, kCornerCells);
  const auto covering = [](int64_t cells, int64_t high, int64_t low) {
    return std::clamp<int64_t>((cells * high + low - 1) / low, 1, std::min(high, kMostCornerTokens));
  };
  const BlockTokens tokens(segment);
  tiles.push_back(maker.grid("thumbnail corner", first + tokens.thumbnail(0), rows, columns, grid.w));
  tiles.push_back(maker.cells("same in high-res", covering(rows, segment.high_h, grid.h),
                              covering(columns, segment.high_w, grid.w),
                              [&](int64_t row, int64_t column) { return first + tokens.high(row, column); }));
  for (size_t i = tiles.size() - 2; i < tiles.size(); ++i) {
    tiles[i].numbers = true;
    tiles[i].caption.clear();
  }
}

std::vector<Mosaic::Tile> tiles_of(const Layout& layout, const double* ids) {
  const TileMaker maker(ids);
  std::vector<Mosaic::Tile> tiles, corner;
  int64_t first = 0;
  for (const Segment& segment : layout.segments) {
    if (tiles.size() >= kMostTiles) break;
    if (segment.kind == Segment::Kind::kText) {
      tiles.push_back(maker.strip("text", first, segment.text, 1));
    } else if (segment.kind == Segment::Kind::kAnyres) {
      add_anyres(maker, segment, first, tiles);
      if (corner.empty() && segment.high_h * segment.high_w > 0) add_corner(maker, segment, first, corner);
    } else if (segment.kind == Segment::Kind::kMerged) {
      const Grid& grid = segment.grid;
      tiles.push_back(
          maker.strip(fmt::format("merged {}", size_text(grid.h, grid.w)), first, segment.tokens(), 1));
    } else {
      add_grid(maker, segment, first, tiles);
    }
    first += segment.tokens();
  }
  if (tiles.size() > kMostTiles) tiles.resize(kMostTiles);
  // Beside many other tiles the numbers would not be legible.
  if (tiles.size() <= 5) tiles.insert(tiles.end(), corner.begin(), corner.end());
  return tiles;
}

/// How much of a layout is shown, as a remark for the title.
std::string shown_part(const Layout& layout, size_t tiles) {
  const bool cut = tiles == kMostTiles;
  return cut ? fmt::format(" (the first of {} segments)", layout.segments.size()) : std::string();
}

/// Rows of tiles of one height that fit a page; a newline column stays with its picture.
std::vector<Mosaic> rows_of_height(const std::vector<Mosaic::Tile>& tiles, double page_width_cm,
                                   double tile_cm) {
  std::vector<Mosaic> rows(1);
  for (const Mosaic::Tile& tile : tiles) {
    Mosaic with = rows.back();
    with.tiles.push_back(tile);
    const bool fits = mosaic_width(with, tile_cm) <= mosaic_room(page_width_cm);
    if (fits || tile.joined || rows.back().tiles.empty()) {
      rows.back() = std::move(with);
    } else {
      rows.emplace_back();
      rows.back().tiles.push_back(tile);
    }
  }
  return rows;
}

/// The tiles shrink by up to 30 % where that saves a row: one tile alone on a line is hard to read in its place.
std::vector<Mosaic> tile_rows(const std::vector<Mosaic::Tile>& tiles, double page_width_cm) {
  std::vector<Mosaic> rows = rows_of_height(tiles, page_width_cm, kTileCm);
  for (const double share : {0.9, 0.8, 0.7}) {
    std::vector<Mosaic> fewer = rows_of_height(tiles, page_width_cm, share * kTileCm);
    if (fewer.size() < rows.size()) return fewer;
  }
  return rows;
}

std::string name_of_row(const PlacedLayout& placed, int64_t row) {
  static const std::vector<std::string> kAxes = {"t", "h", "w"};
  const std::vector<std::string>& names = placed.row_names.empty() ? kAxes : placed.row_names;
  const auto index = static_cast<size_t>(row);
  return index < names.size() ? names[index] : std::to_string(row);
}

}  // namespace

Figure position_figure(const std::vector<PlacedLayout>& placed) {
  Figure figure;
  for (const PlacedLayout& one : placed) {
    if (one.coordinates.numel() == 0) throw InputError("figure: {} has no tokens to draw", one.name);
    const at::Tensor ids = one.coordinates.to(at::kDouble).contiguous();
    const double low = ids.min().item<double>(), high = ids.max().item<double>();
    for (int64_t axis = 0; axis < ids.size(0); ++axis) {
      const std::vector<Mosaic::Tile> tiles =
          tiles_of(one.layout, ids.const_data_ptr<double>() + axis * ids.size(1));
      std::string title = one.name;
      if (ids.size(0) > 1) title += fmt::format(", axis {}", name_of_row(one, axis));
      title += shown_part(one.layout, tiles.size());
      for (Mosaic& row : tile_rows(tiles, figure.width_cm)) {
        row.label = "id";
        row.low = low;
        row.high = high;
        Panel panel;
        panel.title = std::exchange(title, "");
        panel.mosaic = std::move(row);
        figure.panels.push_back(std::move(panel));
      }
    }
  }
  if (figure.panels.size() > kMostPositionPanels) {
    throw UsageError("figure: expected at most {} rows of pictures, found {}; draw fewer schemes",
                     kMostPositionPanels, figure.panels.size());
  }
  figure.title = "Where every token sits";
  figure.panel_height_cm = 3.95;
  return figure;
}

bool has_positions(const ResultReader& result) {
  if (!result.has("/positions")) return false;
  const std::vector<std::string> datasets = result.datasets();
  return std::any_of(datasets.begin(), datasets.end(), [](const std::string& name) {
    return name.rfind("/positions/", 0) == 0 && name.size() > 9 &&
           name.substr(name.size() - 9) == "/segments";
  });
}

Figure position_figure(const ResultReader& result, const FigureSelection&) {
  const std::string ending = "/segments";
  std::multimap<int64_t, PlacedLayout> placed;  // in the order of the command
  for (const std::string& name : result.datasets()) {
    if (name.rfind("/positions/", 0) != 0 || name.size() <= ending.size() ||
        name.substr(name.size() - ending.size()) != ending) {
      continue;
    }
    const std::string group = name.substr(0, name.size() - ending.size());
    std::string text;
    for (const std::string& segment : result.read_strings(name)) text += (text.empty() ? "" : ",") + segment;
    PlacedLayout one;
    try {
      one.layout = parse_layout(text);
    } catch (const UsageError& error) {
      throw InputError("{}: {}: {}", result.path().string(), name, error.what());
    }
    one.coordinates = read_axes(result, group + "/coordinates", 2);
    if (one.coordinates.size(1) != one.layout.tokens()) {
      throw InputError("{}: {}/coordinates: expected {} tokens on each axis, found [{}, {}]",
                       result.path().string(), group, one.layout.tokens(), one.coordinates.size(0),
                       one.coordinates.size(1));
    }
    if (result.has(group + "/rows")) one.row_names = result.read_strings(group + "/rows");
    one.name = group;
    if (result.has_attribute(group, "title")) {
      const Attribute title = result.attribute(group, "title");
      if (const auto* known = std::get_if<std::string>(&title)) one.name = *known;
    }
    int64_t order = 0;
    if (result.has_attribute(group, "order")) {
      const Attribute value = result.attribute(group, "order");
      if (const auto* known = std::get_if<int64_t>(&value)) order = *known;
    }
    placed.emplace(order, std::move(one));
  }
  std::vector<PlacedLayout> ordered;
  for (auto& [order, one] : placed) ordered.push_back(std::move(one));
  return position_figure(ordered);
}

}  // namespace ropescope
