#include "merged_ids.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"

namespace ropescope::miniature {

namespace {

/// PPE's k parts of every row's channels: which of `rows` k rows turns each channel. axis [heads or 1, channels].
at::Tensor rows_of_parts(const at::Tensor& axis, int64_t rows, int64_t kept) {
  at::Tensor result = axis.to(at::kLong).clone();
  auto* out = result.mutable_data_ptr<int64_t>();
  const int64_t channels = axis.size(1);
  for (int64_t head = 0; head < axis.size(0); ++head, out += channels) {
    std::vector<int64_t> count(static_cast<size_t>(rows), 0);
    for (int64_t i = 0; i < channels; ++i) {
      if (out[i] >= 0) ++count[static_cast<size_t>(out[i])];
    }
    const bool divides = std::all_of(count.begin(), count.end(), [&](int64_t n) { return n % kept == 0; });
    std::vector<int64_t> met(static_cast<size_t>(rows), 0);
    for (int64_t i = 0; i < channels; ++i) {
      if (out[i] < 0) continue;
      const auto row = static_cast<size_t>(out[i]);
      const int64_t part = divides ? met[row]++ / (count[row] / kept) : 0;
      out[i] = divides ? out[i] * kept + part : i % (rows * kept);
    }
  }
  return result;
}

Layout coarser(const PictureSequence& sequence, int64_t side) {
  Layout layout = sequence.layout;
  Segment& picture = layout.segments[1];
  picture.high_h = (picture.high_h + side - 1) / side;
  picture.high_w = (picture.high_w + side - 1) / side;
  return layout;
}

}  // namespace

MergedIds::MergedIds(const Scheme& scheme, const EncodedModel& model, const PictureSequence& sequence,
                     const Compression& compression)
    : scheme_(scheme), sequence_(sequence), compression_(compression) {
  if (scheme.changes_attention() || scheme.depends_on_layer()) {
    throw UsageError("--compress: expected a scheme that only rotates, alike in all layers, found {}",
                     scheme.text());
  }
  const bool pools = compression.kind == CompressionKind::kPool;
  takes_neighbour_ = scheme.aligned();
  if (compression.ids == MergedId::kAfter && !pools && !takes_neighbour_ && scheme.axes() > 1) {
    throw UsageError(
        "--merged-id after: expected pools, ID-Align or a scheme of one row (what is left is no grid), found {}",
        scheme.text());
  }
  const EncodedLayer layer = model.of_layer(0);
  const Positions positions = scheme.positions(sequence.layout);
  ids_ = positions.coordinates;
  frequencies_ = scheme.frequencies(layer.rope, layer.head_dim, layer.kv_heads, model.max_position_embeddings,
                                    positions.largest() + 1);
  pairing_ = layer.pairing;
  if (compression.ids == MergedId::kPpe) {
    if (frequencies_.weights.defined()) {
      throw UsageError("--merged-id ppe: expected a scheme whose channels follow one row each, found {}",
                       scheme.text());
    }
    frequencies_.axis = rows_of_parts(frequencies_.axis, scheme.axes(), kPpeMembers);
  }
  if (pools && compression.ids == MergedId::kAfter) {
    pooled_ids_ = scheme.positions(coarser(sequence, compression.amount)).coordinates;
  }
}

/// The token whose ids a token with these members has.
int64_t MergedIds::like(const std::vector<int64_t>& members) const {
  const int64_t first = members.front();
  if (members.size() == 1 || sequence_.place_of[static_cast<size_t>(first)] < 0) return first;
  if (compression_.ids == MergedId::kAfter) {
    double row = 0, column = 0;
    for (const int64_t token : members) {
      const int64_t place = sequence_.place_of[static_cast<size_t>(token)];
      row += static_cast<double>(place / sequence_.columns);
      column += static_cast<double>(place % sequence_.columns);
    }
    const auto count = static_cast<double>(members.size());
    const int64_t near = std::lround(row / count) * sequence_.columns + std::lround(column / count);
    return sequence_.high[static_cast<size_t>(near)];
  }
  const double* const ids = ids_.const_data_ptr<double>();
  const auto same = [&](int64_t a, int64_t b) {
    for (int64_t row = 0; row < ids_.size(0); ++row) {
      if (ids[row * sequence_.tokens + a] != ids[row * sequence_.tokens + b]) return false;
    }
    return true;
  };
  int64_t best = first, most = 0;
  for (const int64_t token : members) {
    const auto alike =
        std::count_if(members.begin(), members.end(), [&](int64_t b) { return same(token, b); });
    if (alike > most) {
      most = alike;
      best = token;
    }
  }
  return best;
}

at::Tensor MergedIds::of_like(const Members& members) const {
  std::vector<int64_t> tokens;
  for (const std::vector<int64_t>& some : members) tokens.push_back(like(some));
  return ids_.index_select(1, at::tensor(tokens, at::kLong));
}

at::Tensor MergedIds::means(const Members& members) const {
  const int64_t rows = ids_.size(0), count = static_cast<int64_t>(members.size());
  at::Tensor result = at::empty({rows, count}, at::kDouble);
  const double* const ids = ids_.const_data_ptr<double>();
  auto* out = result.mutable_data_ptr<double>();
  for (int64_t row = 0; row < rows; ++row) {
    for (const std::vector<int64_t>& some : members) {
      double sum = 0;
      for (const int64_t token : some) sum += ids[row * sequence_.tokens + token];
      *out++ = sum / static_cast<double>(some.size());
    }
  }
  return result;
}

at::Tensor MergedIds::of_members(const Members& members) const {
  const int64_t rows = ids_.size(0), count = static_cast<int64_t>(members.size());
  at::Tensor result = at::empty({rows * kPpeMembers, count}, at::kDouble);
  const double* const ids = ids_.const_data_ptr<double>();
  auto* out = result.mutable_data_ptr<double>();
  for (int64_t row = 0; row < rows; ++row) {
    for (size_t j = 0; j < static_cast<size_t>(kPpeMembers); ++j) {
      for (const std::vector<int64_t>& some : members) {
        *out++ = ids[row * sequence_.tokens + some[j % some.size()]];
      }
    }
  }
  return result;
}

const at::Tensor& MergedIds::counted_through(int64_t tokens) const {
  at::Tensor& known = counted_[tokens];
  if (known.defined()) return known;
  Layout layout = sequence_.layout;
  Segment& picture = layout.segments[1];
  const int64_t text = layout.segments[0].text + layout.segments[2].text;
  picture = Segment();
  picture.kind = Segment::Kind::kImage;
  picture.grid = {1, 1, tokens - text};
  known = scheme_.positions(layout).coordinates;
  return known;
}

at::Tensor MergedIds::coordinates(const Members& members) const {
  switch (compression_.ids) {
    case MergedId::kCell:
      return of_like(members);
    case MergedId::kMean:
      return means(members);
    case MergedId::kPpe:
      return of_members(members);
    case MergedId::kAfter:
      break;
  }
  const auto count = static_cast<int64_t>(members.size());
  if (count == sequence_.tokens) return ids_;  // nothing has gone yet
  if (pooled_ids_.defined()) return pooled_ids_;
  return takes_neighbour_ ? of_like(members) : counted_through(count);
}

RotaryTable MergedIds::table(const Members& members) const {
  return make_rotary_table(coordinates(members).unsqueeze(1), frequencies_, pairing_);
}

}  // namespace ropescope::miniature
