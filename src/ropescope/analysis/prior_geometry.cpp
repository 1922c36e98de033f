#include "ropescope/analysis/prior_geometry.h"

#include <algorithm>
#include <array>
#include <numeric>

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/numbers.h"

namespace ropescope {

namespace {

bool is_visual_segment(const Segment& segment) {
  return segment.kind != Segment::Kind::kText && segment.tokens() > 0;
}

/// Raw access to positions; the query's ids depend on the key's modality where a scheme anchors.
class PairIds {
 public:
  PairIds(const Positions& positions, int64_t query)
      : axes_(positions.coordinates.size(0)), tokens_(positions.tokens()) {
    ids_ = positions.coordinates.const_data_ptr<double>();
    modality_ = positions.modality.const_data_ptr<uint8_t>();
    const bool anchored = positions.anchors.defined();
    const double* anchors = anchored ? positions.anchors.const_data_ptr<double>() : ids_;
    for (int64_t axis = 0; axis < axes_; ++axis) {
      same_.push_back(ids_[axis * tokens_ + query]);
      other_.push_back(anchors[axis * tokens_ + query]);
    }
    query_visual_ = visual(query);
  }

  bool visual(int64_t token) const { return is_visual(static_cast<Modality>(modality_[token])); }
  double delta(int64_t axis, int64_t key) const {
    const auto& own = visual(key) == query_visual_ ? same_ : other_;
    return own[static_cast<size_t>(axis)] - ids_[axis * tokens_ + key];
  }
  int64_t axes() const { return axes_; }

 private:
  int64_t axes_, tokens_;
  const double* ids_ = nullptr;
  const uint8_t* modality_ = nullptr;
  std::vector<double> same_, other_;
  bool query_visual_ = false;
};

std::vector<int64_t> visible_keys(const Scheme& scheme, const Positions& positions, int64_t query,
                                  const KeyReach& reach) {
  std::vector<int64_t> keys;
  const auto rule = scheme.attention_rule(positions, /*heads=*/1);
  for (int64_t key = 0; key < positions.tokens(); ++key) {
    const bool sees = rule ? rule->sees(query, key) : key <= query;
    if (sees && reach.sees(query, key)) keys.push_back(key);
  }
  return keys;
}

}  // namespace

PriorQuery parse_prior_query(const std::string& text) {
  PriorQuery query;
  if (text == "last") return query;
  if (const auto index = parse_whole_number(text)) {
    query.kind = PriorQuery::Kind::kIndex;
    query.index = *index;
    return query;
  }
  const size_t comma = text.find(',');
  if (text.rfind("high:", 0) == 0 && comma != std::string::npos) {
    const auto row = parse_whole_number(text.substr(5, comma - 5)),
               column = parse_whole_number(text.substr(comma + 1));
    if (row && column) return {PriorQuery::Kind::kHighRes, 0, *row, *column};
  }
  throw UsageError("--query: expected a token index, last, or high:row,column, found \"{}\"", text);
}

std::optional<AnyresTokens> first_anyres(const Layout& layout) {
  int64_t done = 0;
  for (const Segment& segment : layout.segments) {
    const bool has_high = segment.kind == Segment::Kind::kAnyres && segment.high_h * segment.high_w > 0;
    if (!has_high || segment.grid.tokens() == 0) {
      done += segment.tokens();
      continue;
    }
    return AnyresTokens{done,           segment.grid.h, segment.grid.w,
                        segment.high_h, segment.high_w, BlockTokens(segment)};
  }
  return std::nullopt;
}

std::optional<std::array<int64_t, 2>> AnyresTokens::place_of(int64_t token) const {
  for (int64_t row = 0; row < high_rows; ++row) {
    for (int64_t column = 0; column < high_columns; ++column) {
      if (high(row, column) == token) return std::array<int64_t, 2>{row, column};
    }
  }
  return std::nullopt;
}

int64_t query_token(const Layout& layout, const PriorQuery& query) {
  const int64_t tokens = layout.tokens();
  if (tokens < 1) throw UsageError("--layout: expected at least one token, found none");
  if (tokens >= kMostPriorTokens) {
    throw UsageError("--layout: expected fewer than {} tokens, found {}", kMostPriorTokens, tokens);
  }
  if (query.kind == PriorQuery::Kind::kLast) return tokens - 1;
  if (query.kind == PriorQuery::Kind::kIndex) {
    if (query.index < tokens) return query.index;
    throw UsageError("--query: expected a token from 0 to {} (the layout has {}), found {}", tokens - 1,
                     tokens, query.index);
  }
  const auto block = first_anyres(layout);
  if (!block) {
    throw UsageError(
        "--query high:{},{}: expected a layout with high-resolution tokens, for example "
        "anyres:24x24+48x48, found \"{}\"",
        query.row, query.column, layout_text(layout));
  }
  if (query.row >= block->high_rows || query.column >= block->high_columns) {
    throw UsageError("--query high:{},{}: expected a row below {} and a column below {}", query.row,
                     query.column, block->high_rows, block->high_columns);
  }
  return block->high(query.row, query.column);
}

namespace {

/// Fills one tensor of places a field.
class CellFiller {
 public:
  explicit CellFiller(int64_t tokens) {
    for (at::Tensor* field : {&places_.raster, &places_.row, &places_.column}) {
      *field = at::full({tokens}, -1, at::kInt);
    }
    raster_ = places_.raster.data_ptr<int32_t>();
    row_ = places_.row.data_ptr<int32_t>();
    column_ = places_.column.data_ptr<int32_t>();
  }

  void add(const Segment& segment) {
    if (is_visual_segment(segment)) {
      segment.pieces.empty() ? add_visual(segment) : add_pieces(segment);
    }
    done_ += segment.tokens();
  }

  CellPlaces take() { return std::move(places_); }

 private:
  void put(int64_t token, int32_t raster, int64_t row, int64_t column) {
    raster_[token] = raster;
    row_[token] = static_cast<int32_t>(row);
    column_[token] = static_cast<int32_t>(column);
  }

  void add_visual(const Segment& segment) {
    int64_t token = done_;
    if (segment.kind == Segment::Kind::kMerged) return add_merged(segment);
    for (int64_t tau = 0; tau < segment.grid.t; ++tau, ++rasters_) {
      for (int64_t row = 0; row < segment.grid.h; ++row) {
        for (int64_t column = 0; column < segment.grid.w; ++column) put(token++, rasters_, row, column);
      }
    }
    if (segment.kind != Segment::Kind::kAnyres) return;
    for (int64_t row = 0; row < segment.high_h; ++row) {
      for (int64_t column = 0; column < segment.high_w; ++column) put(token++, rasters_, row, column);
      if (segment.newline) raster_[token++] = rasters_;
    }
    if (segment.single_tile && segment.newline) raster_[token] = rasters_;
    ++rasters_;
  }

  // A token that stands for several is shown where its first member is.
  void add_merged(const Segment& segment) {
    const int64_t frame = segment.grid.h * segment.grid.w;
    int64_t token = done_;
    for (const std::vector<int64_t>& members : segment.members) {
      const int64_t cell = members.front() % frame;
      put(token++, rasters_ + static_cast<int32_t>(members.front() / frame), cell / segment.grid.w,
          cell % segment.grid.w);
    }
    rasters_ += static_cast<int32_t>(segment.grid.t);
  }

  void add_pieces(const Segment& segment) {
    int64_t token = done_;
    for (const Piece& piece : segment.pieces) {
      for (int64_t i = 0; i < piece.tokens && piece.is_grid(); ++i) {
        const bool tile = piece.role == Piece::Role::kTile;
        const int64_t row = i / piece.w, column = i % piece.w;
        put(token + i, rasters_ + (tile ? 1 : 0), row + piece.row, column + piece.column);
      }
      token += piece.tokens;
    }
    rasters_ += 2;
  }

  CellPlaces places_;
  int32_t *raster_ = nullptr, *row_ = nullptr, *column_ = nullptr;
  int32_t rasters_ = 0;
  int64_t done_ = 0;
};

}  // namespace

CellPlaces cell_places(const Layout& layout) {
  CellFiller filler(layout.tokens());
  for (const Segment& segment : layout.segments) filler.add(segment);
  return filler.take();
}

AskedLayout with_text_between(const Layout& layout, int64_t query, int64_t count) {
  AskedLayout asked{layout, query};
  auto& segments = asked.layout.segments;
  const int64_t most = kMostPriorTokens - layout.tokens() - 1;
  if (count < 0 || count > most) {
    throw UsageError("--text-lengths: expected 0 to {} tokens, found {}", most, count);
  }
  // End of the last visual block before the query, and whether the query itself is text behind one.
  const auto place_before = [&](int64_t token) -> std::optional<size_t> {
    std::optional<size_t> place;
    int64_t done = 0;
    for (size_t i = 0; i < segments.size() && done <= token; ++i) {
      done += segments[i].tokens();
      if (!is_visual_segment(segments[i])) continue;
      if (token < done) return std::nullopt;  // the query is in this block
      place = i + 1;
    }
    return place;
  };
  auto place = place_before(asked.query);
  if (!place) {
    asked.query = layout.tokens() - 1;
    place = place_before(asked.query);
  }
  const bool any_visual = std::any_of(segments.begin(), segments.end(), is_visual_segment);
  if (!place && any_visual) {
    segments.emplace_back();
    segments.back().text = 1;
    ++asked.query;
    place = segments.size() - 1;
  }
  Segment text;
  text.text = count;
  const auto at = segments.begin() + static_cast<std::ptrdiff_t>(place.value_or(0));
  if (count > 0) segments.insert(at, text);
  asked.query += count;
  return asked;
}

Displacements displacements(const Scheme& scheme, const Positions& positions, int64_t query,
                            const KeyReach& reach) {
  const PairIds ids(positions, query);
  const std::vector<int64_t> keys = visible_keys(scheme, positions, query, reach);
  const auto visible = keys.size();
  const auto axes = static_cast<size_t>(ids.axes());
  std::vector<double> delta(visible * axes);
  for (size_t v = 0; v < visible; ++v) {
    for (size_t axis = 0; axis < axes; ++axis) {
      // -0.0 and 0.0 are one displacement.
      delta[v * axes + axis] = ids.delta(static_cast<int64_t>(axis), keys[v]) + 0.0;
    }
  }
  const auto of = [&](size_t v) { return delta.begin() + static_cast<std::ptrdiff_t>(v * axes); };
  const auto size = static_cast<std::ptrdiff_t>(axes);
  const auto less = [&](size_t a, size_t b) {
    return std::lexicographical_compare(of(a), of(a) + size, of(b), of(b) + size);
  };
  const auto same = [&](size_t a, size_t b) { return std::equal(of(a), of(a) + size, of(b)); };
  std::vector<size_t> order(visible);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), less);

  Displacements result;
  result.key = at::empty({static_cast<int64_t>(visible)}, at::kLong);
  result.distinct = at::empty({static_cast<int64_t>(visible)}, at::kLong);
  std::copy(keys.begin(), keys.end(), result.key.data_ptr<int64_t>());
  auto* distinct = result.distinct.data_ptr<int64_t>();
  std::vector<size_t> representative;
  for (const size_t v : order) {
    if (representative.empty() || !same(representative.back(), v)) representative.push_back(v);
    distinct[v] = static_cast<int64_t>(representative.size()) - 1;
  }
  const auto count = static_cast<int64_t>(representative.size());
  result.delta = at::empty({ids.axes(), count}, at::kDouble);
  auto* out = result.delta.data_ptr<double>();
  for (size_t axis = 0; axis < axes; ++axis) {
    for (const size_t v : representative) *out++ = delta[v * axes + axis];
  }
  result.count = at::zeros({count}, at::kDouble);
  result.visual = at::zeros({count}, at::kDouble);
  result.first = at::zeros({count}, at::kDouble);
  for (size_t v = 0; v < visible; ++v) {
    result.count.data_ptr<double>()[distinct[v]] += 1;
    if (ids.visual(keys[v])) result.visual.data_ptr<double>()[distinct[v]] += 1;
    if (keys[v] < kSinkTokens) result.first.data_ptr<double>()[distinct[v]] += 1;
  }
  return result;
}

at::Tensor displacements_to(const Positions& positions, int64_t query, const std::vector<int64_t>& keys) {
  const PairIds ids(positions, query);
  at::Tensor delta = at::empty({ids.axes(), static_cast<int64_t>(keys.size())}, at::kDouble);
  auto* out = delta.data_ptr<double>();
  for (int64_t axis = 0; axis < ids.axes(); ++axis) {
    for (const int64_t key : keys) *out++ = ids.delta(axis, key);
  }
  return delta;
}

}  // namespace ropescope
