// What the prior of a layout needs to know about tokens: which one asks, which it may see, how far apart they
// are.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/rope/scheme.h"
#include "ropescope/rope/tiled_block.h"

namespace ropescope {

/// Most tokens of a layout whose prior is computed: memory is about 1 KiB a token.
inline constexpr int64_t kMostPriorTokens = int64_t{1} << 20;

/// The token that asks: the layout's last one, one by its index, or a high-resolution token of the first
/// anyres block that has some.
struct PriorQuery {
  enum class Kind { kLast, kIndex, kHighRes };
  Kind kind = Kind::kLast;
  int64_t index = 0;
  int64_t row = 0, column = 0;
};

/// "last", "57" or "high:23,11" (row, column from 0). Throws UsageError.
PriorQuery parse_prior_query(const std::string& text);

/// An anyres block with high-resolution tokens: where its tokens lie in the sequence.
struct AnyresTokens {
  int64_t first = 0, thumbnail_rows = 0, thumbnail_columns = 0;
  int64_t high_rows = 0, high_columns = 0;
  BlockTokens tokens;

  int64_t thumbnail(int64_t cell) const { return first + tokens.thumbnail(cell); }
  int64_t high(int64_t row, int64_t column) const { return first + tokens.high(row, column); }
  /// The thumbnail cell that shows what the high-resolution token shows (nearest rule of id_align.h).
  int64_t partner_cell(int64_t row, int64_t column) const {
    return row * thumbnail_rows / high_rows * thumbnail_columns + column * thumbnail_columns / high_columns;
  }
  /// Row and column of a high-resolution token; none for any other.
  std::optional<std::array<int64_t, 2>> place_of(int64_t token) const;
};

/// The first such block of a layout.
std::optional<AnyresTokens> first_anyres(const Layout& layout);

/// Index of the query's token. Throws UsageError if the layout has no such token, or more than
/// kMostPriorTokens.
int64_t query_token(const Layout& layout, const PriorQuery& query);

/// A token's place in its raster, from 0; -1 for text, separators and newline tokens. `raster` is -1 for text
/// and separators only, and counts as Positions::raster, but for tiles that stand in the sequence one by one:
/// they are one grid. Each [tokens] int32.
struct CellPlaces {
  at::Tensor raster, row, column;
};
CellPlaces cell_places(const Layout& layout);

/// A layout and the token that asks.
struct AskedLayout {
  Layout layout;
  int64_t query = 0;
};

/// `count` more text tokens between the last visual block before the query and the query. Where the query is
/// visual, or precedes every visual block, the layout's last token asks in its place, and where that is
/// visual too, one text token is put behind it to ask. Throws UsageError beyond kMostPriorTokens.
AskedLayout with_text_between(const Layout& layout, int64_t query, int64_t count);

/// Tokens at the start of a sequence whose mass above the uniform share counts as an attention sink.
inline constexpr int64_t kSinkTokens = 4;

/// Keys that a query may see and their displacements (query minus key, on each axis). Keys of one
/// displacement have one expected logit, so each is kept once.
struct Displacements {
  at::Tensor delta;     ///< [axes, U] float64, distinct columns
  at::Tensor key;       ///< [V] int64: visible keys, ascending
  at::Tensor distinct;  ///< [V] int64: column of delta of each visible key
  /// Number of visible keys with the displacement: all, visual ones, and ones among the first kSinkTokens;
  /// [U] float64.
  at::Tensor count, visual, first;
};

/// Keys that a layer shows a query beyond what a scheme hides; counted in tokens, not in position ids.
struct KeyReach {
  int64_t window = 0;  ///< the last so many keys, the query's own included; 0: all
  int64_t chunk = 0;   ///< those of its own chunk of so many tokens; 0: all

  bool sees(int64_t query, int64_t key) const {
    return (window == 0 || query - key < window) && (chunk == 0 || query / chunk == key / chunk);
  }
};

/// Of one query. Causal order, ring masks (as allowed_pairs) and DIPE's anchors for queries against the other
/// modality are obeyed. O(tokens log tokens).
Displacements displacements(const Scheme& scheme, const Positions& positions, int64_t query,
                            const KeyReach& reach = {});

/// query minus key on each axis: [axes, keys.size()] float64. The same choice of ids.
at::Tensor displacements_to(const Positions& positions, int64_t query, const std::vector<int64_t>& keys);

}  // namespace ropescope
