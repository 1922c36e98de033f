#include "ropescope/rope/tiled_block.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <sstream>

#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

/// Most tiles, tokens of a side and tokens beside a tile that a TiledPicture may have.
constexpr int64_t kMostOfATiling = 1 << 16;

constexpr std::array<const char*, 5> kRoles = {"thumbnail", "tile", "before", "after", "text"};

void append(std::vector<Piece>& pieces, Piece::Role role, int64_t tokens) {
  if (tokens > 0) pieces.push_back({role, tokens});
}

void append_tiles(std::vector<Piece>& pieces, const TiledPicture& tiling) {
  using Role = Piece::Role;
  for (int64_t row = 0; row < tiling.rows; ++row) {
    for (int64_t column = 0; column < tiling.columns; ++column) {
      const bool first = row == 0 && column == 0;
      append(pieces, Role::kBefore, tiling.before + (first ? 0 : tiling.between));
      pieces.push_back({Role::kTile, tiling.tile_h * tiling.tile_w, row * tiling.tile_h,
                        column * tiling.tile_w, tiling.tile_h, tiling.tile_w});
      const bool closes = column + 1 == tiling.columns;
      append(pieces, Role::kAfter, tiling.after + (closes ? tiling.row_end : 0));
    }
  }
}

std::vector<Piece> pieces_of(const TiledPicture& tiling) {
  const Grid& grid = tiling.thumbnail;
  const Piece thumbnail{Piece::Role::kThumbnail, grid.tokens(), 0, 0, grid.h, grid.w};
  std::vector<Piece> pieces;
  if (tiling.tiles_first) append_tiles(pieces, tiling);
  if (!tiling.tiles_first) pieces.push_back(thumbnail);
  append(pieces, Piece::Role::kText, tiling.gap);
  if (tiling.tiles_first) pieces.push_back(thumbnail);
  if (!tiling.tiles_first) append_tiles(pieces, tiling);
  append(pieces, Piece::Role::kText, tiling.end);
  return pieces;
}

// "13" at `at`, which moves behind it; nothing for no number.
std::optional<int64_t> take_number(const char*& at, const char* end) {
  int64_t value = 0;
  const auto [next, code] = std::from_chars(at, end, value);
  if (code != std::errc() || value < 0) return std::nullopt;
  at = next;
  return value;
}

std::optional<Piece> parse_piece(const std::string& text, const Grid& thumbnail) {
  const size_t letters = std::min(text.find_first_of("0123456789"), text.size());
  const std::optional<Piece::Role> role = role_of(text.substr(0, letters));
  if (!role) return std::nullopt;
  Piece piece{*role};
  const char* at = text.data() + letters;
  const char* const end = text.data() + text.size();
  if (*role == Piece::Role::kThumbnail) {
    piece.tokens = thumbnail.tokens();
    piece.h = thumbnail.h;
    piece.w = thumbnail.w;
  } else if (*role == Piece::Role::kTile) {
    for (int64_t* side : {&piece.row, &piece.column, &piece.h, &piece.w}) {
      if (side != &piece.row && (at == end || *at++ != '.')) return std::nullopt;
      const std::optional<int64_t> value = take_number(at, end);
      if (!value || *value > kMostLayoutTokens) return std::nullopt;
      *side = *value;
    }
    piece.tokens = piece.h * piece.w;
  } else {
    const std::optional<int64_t> value = take_number(at, end);
    if (!value) return std::nullopt;
    piece.tokens = *value;
  }
  return at == end ? std::optional(piece) : std::nullopt;
}

}  // namespace

std::string role_name(Piece::Role role) { return kRoles[static_cast<size_t>(role)]; }

std::optional<Piece::Role> role_of(const std::string& name) {
  for (size_t i = 0; i < kRoles.size(); ++i) {
    if (name == kRoles[i]) return static_cast<Piece::Role>(i);
  }
  return std::nullopt;
}

std::string pieces_fault(const Segment& block) {
  using Role = Piece::Role;
  const int64_t rows = block.high_h, columns = block.high_w;
  if (block.newline || block.single_tile) return "pieces without newline tokens";
  int64_t thumbnails = 0, tiled = 0, tokens = 0, waiting = 0;
  bool any_tile = false;
  for (const Piece& piece : block.pieces) {
    // Also keeps the sums below in range.
    if (piece.tokens < 1 || piece.tokens > kMostLayoutTokens - tokens) {
      return fmt::format("pieces of at least one token, and no more than {} together", kMostLayoutTokens);
    }
    tokens += piece.tokens;
    if (piece.role == Role::kThumbnail) {
      ++thumbnails;
      if (piece.h != block.grid.h || piece.w != block.grid.w || piece.tokens != block.grid.tokens()) {
        return fmt::format("a thumbnail piece of {}x{} tokens", block.grid.h, block.grid.w);
      }
    }
    if (piece.role == Role::kBefore) ++waiting;
    if (piece.role == Role::kAfter && !any_tile) return "a tile before the separators that close one";
    if (piece.role != Role::kTile) continue;
    if (piece.row < 0 || piece.column < 0 || piece.h < 1 || piece.w < 1 || piece.h > rows - piece.row ||
        piece.w > columns - piece.column) {
      return fmt::format("tiles inside the {}x{} tokens of the high-resolution grid", rows, columns);
    }
    if (piece.tokens / piece.w != piece.h || piece.tokens % piece.w != 0) {
      return fmt::format("a tile of {}x{} tokens, not {}", piece.h, piece.w, piece.tokens);
    }
    any_tile = true;
    waiting = 0;
    tiled += piece.tokens;
  }
  if (thumbnails != 1) return fmt::format("exactly one thumbnail, not {}", thumbnails);
  if (waiting > 0) return "a tile behind the separators that open one";
  // The grid is small now: as many cells as tokens in tiles.
  if (!any_tile || columns < 1 || tiled % columns != 0 || tiled / columns != rows) {
    return fmt::format("tiles of {}x{} tokens together, not {} tokens", rows, columns, tiled);
  }
  std::vector<bool> covered(static_cast<size_t>(tiled));
  for (const Piece& piece : block.pieces) {
    if (piece.role != Role::kTile) continue;
    for (int64_t cell = 0; cell < piece.tokens; ++cell) {
      const int64_t row = piece.row + cell / piece.w, column = piece.column + cell % piece.w;
      const auto at = static_cast<size_t>(row * columns + column);
      if (covered[at]) return fmt::format("no two tiles on row {}, column {}", row, column);
      covered[at] = true;
    }
  }
  return {};
}

Segment tiled_segment(const TiledPicture& given) {
  TiledPicture tiling = given;
  if (tiling.tile_h == 0) tiling.tile_h = tiling.thumbnail.h;
  if (tiling.tile_w == 0) tiling.tile_w = tiling.thumbnail.w;
  for (const int64_t count :
       {tiling.thumbnail.h, tiling.thumbnail.w, tiling.rows, tiling.columns, tiling.tile_h, tiling.tile_w}) {
    if (count < 1 || count > kMostOfATiling) {
      throw InputError("tiled picture: expected 1 to {} tiles and tokens a side, found {}", kMostOfATiling,
                       count);
    }
  }
  for (const int64_t count :
       {tiling.before, tiling.between, tiling.after, tiling.row_end, tiling.gap, tiling.end}) {
    if (count < 0 || count > kMostOfATiling) {
      throw InputError("tiled picture: expected 0 to {} tokens beside a tile, found {}", kMostOfATiling,
                       count);
    }
  }
  if (tiling.rows * tiling.columns > kMostOfATiling) {
    throw InputError("tiled picture: expected no more than {} tiles, found {}", kMostOfATiling,
                     tiling.rows * tiling.columns);
  }
  Segment block;
  block.kind = Segment::Kind::kAnyres;
  block.grid = {1, tiling.thumbnail.h, tiling.thumbnail.w};
  block.high_h = tiling.rows * tiling.tile_h;
  block.high_w = tiling.columns * tiling.tile_w;
  block.newline = false;
  block.pieces = pieces_of(tiling);
  if (const std::string fault = pieces_fault(block); !fault.empty()) {
    throw InputError("tiled picture: expected {}", fault);
  }
  return block;
}

std::optional<TiledPicture> tiling_of(const Segment& block) {
  using Role = Piece::Role;
  TiledPicture tiling;
  tiling.thumbnail = {1, block.grid.h, block.grid.w};
  const Piece* first = nullptr;
  std::vector<int64_t> before, after;  // separators of each tile
  bool thumbnail_seen = false;
  int64_t waiting = 0;
  for (const Piece& piece : block.pieces) {
    switch (piece.role) {
      case Role::kThumbnail:
        tiling.tiles_first = first != nullptr;
        thumbnail_seen = true;
        break;
      case Role::kTile:
        if (first == nullptr) first = &piece;
        before.push_back(waiting);
        after.push_back(0);
        waiting = 0;
        break;
      case Role::kBefore:
        waiting += piece.tokens;
        break;
      case Role::kAfter:
        if (!after.empty()) after.back() += piece.tokens;
        break;
      case Role::kText:
        (thumbnail_seen && first != nullptr ? tiling.end : tiling.gap) += piece.tokens;
        break;
    }
  }
  if (first == nullptr || block.high_h % first->h != 0 || block.high_w % first->w != 0) return std::nullopt;
  tiling.tile_h = first->h;
  tiling.tile_w = first->w;
  tiling.rows = block.high_h / first->h;
  tiling.columns = block.high_w / first->w;
  if (tiling.rows * tiling.columns != static_cast<int64_t>(before.size())) return std::nullopt;
  tiling.before = before.front();
  if (before.size() > 1) tiling.between = before[1] - before[0];
  // In one column each tile closes a row: the two counts say the same.
  if (tiling.columns > 1 || !tiling.tiles_first) tiling.after = after.front();
  tiling.row_end = after[static_cast<size_t>(tiling.columns - 1)] - tiling.after;
  // What the rule makes decides.
  if (tiling.between < 0 || tiling.row_end < 0 || pieces_of(tiling) != block.pieces) return std::nullopt;
  return tiling;
}

std::string pieces_text(const std::vector<Piece>& pieces) {
  std::string text;
  for (const Piece& piece : pieces) {
    if (!text.empty()) text += '/';
    text += role_name(piece.role);
    if (piece.role == Piece::Role::kTile) {
      text += fmt::format("{}.{}.{}.{}", piece.row, piece.column, piece.h, piece.w);
    } else if (piece.role != Piece::Role::kThumbnail) {
      text += std::to_string(piece.tokens);
    }
  }
  return text;
}

std::optional<std::vector<Piece>> parse_pieces(const std::string& text, const Grid& thumbnail) {
  std::vector<Piece> pieces;
  std::stringstream stream(text);
  for (std::string word; std::getline(stream, word, '/');) {
    const std::optional<Piece> piece = parse_piece(word, thumbnail);
    if (!piece) return std::nullopt;
    pieces.push_back(*piece);
  }
  if (pieces.empty() || text.back() == '/') return std::nullopt;
  return pieces;
}

BlockTokens::BlockTokens(const Segment& block) : columns_(block.high_w) {
  if (block.pieces.empty()) {
    high_ = block.grid.tokens();
    stride_ = block.high_w + (block.newline ? 1 : 0);
    grids_end_ = block.tokens();
    return;
  }
  if (const std::string fault = pieces_fault(block); !fault.empty()) {
    throw InternalError("a picture's block: expected {}", fault);
  }
  stitched_.resize(static_cast<size_t>(block.high_h * block.high_w));
  int64_t token = 0;
  for (const Piece& piece : block.pieces) {
    if (piece.role == Piece::Role::kThumbnail) thumbnail_ = token;
    if (piece.role == Piece::Role::kTile) {
      for (int64_t cell = 0; cell < piece.tokens; ++cell) {
        const int64_t row = piece.row + cell / piece.w, column = piece.column + cell % piece.w;
        stitched_[static_cast<size_t>(row * columns_ + column)] = token + cell;
      }
    }
    token += piece.tokens;
    if (piece.is_grid()) grids_end_ = token;
  }
}

}  // namespace ropescope
