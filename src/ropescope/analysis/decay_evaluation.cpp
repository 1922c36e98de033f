#include "ropescope/analysis/decay_evaluation.h"

#include <algorithm>
#include <utility>

#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/analysis/statistics.h"
#include "ropescope/core/numbers.h"
#include "ropescope/core/parallel.h"
#include "ropescope/core/tensor_operators.h"

namespace ropescope {

namespace {

at::Tensor band_rows(const at::Tensor& overall) {
  const int64_t half = overall.size(0) / 2;
  at::Tensor rows = at::zeros({kDecayBands, 2 * half}, at::kDouble);
  for (int64_t i = 0; i < half; ++i) {
    const int64_t band = i * kDecayBands / half;
    rows[band][i] = overall[i];
    rows[band][half + i] = overall[half + i];
  }
  return rows;
}

/// Rows as they are added one after the other.
class RowList {
 public:
  int64_t add(const at::Tensor& rows) {
    parts_.push_back(rows);
    return std::exchange(size_, size_ + rows.size(0));
  }
  int64_t size() const { return size_; }
  at::Tensor joined() const { return at::cat(parts_); }

 private:
  std::vector<at::Tensor> parts_;
  int64_t size_ = 0;
};

/// `whole`: of the parts that turn, which one this is; -1: layers that do not.
RowBlock collect_rows(const DecayCoefficients& c, int64_t whole, const std::vector<int64_t>& layers,
                      const std::vector<int64_t>& kinds, const DecayResult& result) {
  const at::Tensor index = at::tensor(layers, at::kLong);
  const bool every = static_cast<int64_t>(layers.size()) == c.layer.size(0);
  const auto of_layers = [&](const at::Tensor& x) { return every ? x : x.index_select(0, index); };
  RowBlock block;
  block.layer_index = layers;
  block.kind_index = kinds;
  block.turns = whole >= 0;
  RowList list;
  if (block.turns) {
    const at::Tensor overall = c.overall[whole];
    list.add(overall.unsqueeze(0));
    block.bands = list.add(band_rows(overall));
    block.deviations = list.add(c.overall_deviations.select(1, whole));
    block.spread = c.spread.defined() ? list.add(c.spread.select(1, whole)) : list.size();
  }
  const bool with_layers = result.by_layer.defined();
  block.layers = with_layers ? list.add(of_layers(c.layer)) : list.size();
  block.layer_deviations = with_layers ? list.add(of_layers(c.layer_deviations).flatten(0, 1)) : list.size();
  block.heads = result.by_head.defined() ? list.add(of_layers(c.head).flatten(0, 1)) : list.size();
  block.kinds = list.size();
  for (const int64_t kind : kinds) {
    const KindCoefficients& of_kind = c.kinds[static_cast<size_t>(kind)];
    list.add(of_kind.mean.unsqueeze(0));
    list.add(of_kind.deviations);
    block.kind_end.push_back(list.size());
  }
  block.end = list.size();
  if (block.end > 0) block.rows = list.joined();
  return block;
}

at::Tensor root_of_squares(const at::Tensor& values, int64_t dim) {
  return (values * values).sum(dim).sqrt();
}

/// Student quantile of each layer's clusters, [L, 1].
at::Tensor layer_quantiles_of(const at::Tensor& clusters) {
  std::vector<double> quantiles;
  for (int64_t i = 0; i < clusters.size(0); ++i) {
    quantiles.push_back(student_quantile(0.95, clusters[i].item<int64_t>() - 1));
  }
  return at::tensor(quantiles, at::kDouble).unsqueeze(1);
}

/// Kinds of which a part holds the layers; none where the one kind there is equals the whole.
std::vector<int64_t> kinds_within(const DecayLayers& layers, const std::vector<int64_t>& part) {
  std::vector<int64_t> kinds;
  if (layers.alike() && layers.kinds.size() == 1) return kinds;
  for (size_t kind = 0; kind < layers.kinds.size(); ++kind) {
    const int64_t first = layers.kinds[kind].layers.front();
    if (std::binary_search(part.begin(), part.end(), first)) kinds.push_back(static_cast<int64_t>(kind));
  }
  return kinds;
}

/// Writes into a map [layers, ...] of some distances.
void put_layers(const RowBlock& block, const at::Tensor& values, const at::Tensor& map) {
  if (map.size(0) == values.size(0)) {
    map.copy_(values);
    return;
  }
  for (size_t i = 0; i < block.layer_index.size(); ++i) {
    map.select(0, block.layer_index[i]).copy_(values.select(0, static_cast<int64_t>(i)));
  }
}

/// Curves of a block at `distance` [d], [R, d]; flat where nothing turns.
at::Tensor block_curves(const RowBlock& block, const at::Tensor& distance, DecaySign sign) {
  const int64_t half = block.rows.size(1) / 2;
  const at::Tensor a = block.rows.narrow(1, 0, half), b = block.rows.narrow(1, half, half);
  if (!block.turns) return a.sum(1, /*keepdim=*/true).expand({a.size(0), distance.size(0)});
  return evaluate_decay(a, b, distance, block.rotation.inv_freq, sign);
}

/// Distances begin..begin+size-1 of row t. Chunks write apart from each other, so they may run at once.
class Chunk {
 public:
  Chunk(int64_t t, const DecayColumn& column, int64_t begin, int64_t size, DecayResult& result)
      : t_(t), column_(column), begin_(begin), size_(size), result_(result) {}

  void fill() const {
    const at::Tensor distance = result_.distance.narrow(0, begin_, size_).to(at::kDouble);
    at::Tensor whole;
    for (const RowBlock& block : column_.blocks) {
      if (block.end == 0) continue;
      const at::Tensor curves = block_curves(block, distance, result_.options.sign);
      if (block.turns) {
        const at::Tensor share = curves.narrow(0, 0, block.layers);
        whole = whole.defined() ? whole + share : share;
      }
      put_parts(block, curves);
    }
    if (whole.defined()) put_whole(whole, distance);
  }

 private:
  at::Tensor place(const at::Tensor& of) const { return of[t_].narrow(-1, begin_, size_); }

  void put_whole(const at::Tensor& curves, const at::Tensor& distance) const {
    const RowBlock& block = column_.blocks.front();  // all parts have as many rows of the whole
    const auto between = [&](int64_t first, int64_t last) { return curves.narrow(0, first, last - first); };
    const at::Tensor mean = curves[0];
    const at::Tensor margin = root_of_squares(between(block.deviations, block.spread), 0) * column_.quantile;
    place(result_.mean).copy_(mean);
    place(result_.ci95_low).copy_(mean - margin);
    place(result_.ci95_high).copy_(mean + margin);
    if (result_.std.defined())
      place(result_.std).copy_(root_of_squares(between(block.spread, block.layers), 0));
    place(result_.band_contribution).copy_(between(block.bands, block.deviations));
    at::Tensor bound;
    for (const RowBlock& part : column_.blocks) {
      if (!part.turns) continue;
      const int64_t half = part.rotation.inv_freq.size(0);
      const at::Tensor of_part =
          abel_bound(part.rows[0].narrow(0, 0, half), part.rows[0].narrow(0, half, half), distance,
                     part.rotation.inv_freq);
      bound = bound.defined() ? bound + of_part : of_part;
    }
    place(result_.abel_bound).copy_(bound);
  }

  void put_parts(const RowBlock& block, const at::Tensor& curves) const {
    const auto between = [&](int64_t first, int64_t last) { return curves.narrow(0, first, last - first); };
    if (result_.by_layer.defined()) {
      const at::Tensor layer = between(block.layers, block.layer_deviations);
      const at::Tensor deviations =
          between(block.layer_deviations, block.heads).reshape({layer.size(0), -1, size_});
      const bool every = layer.size(0) == column_.layer_quantiles.size(0);
      const at::Tensor quantiles =
          every ? column_.layer_quantiles
                : column_.layer_quantiles.index_select(0, at::tensor(block.layer_index, at::kLong));
      const at::Tensor margin = root_of_squares(deviations, 1) * quantiles;
      put_layers(block, layer, place(result_.by_layer));
      put_layers(block, layer - margin, place(result_.by_layer_ci95_low));
      put_layers(block, layer + margin, place(result_.by_layer_ci95_high));
    }
    if (result_.by_head.defined()) {
      const auto layers = static_cast<int64_t>(block.layer_index.size());
      put_layers(block, between(block.heads, block.kinds).reshape({layers, -1, size_}),
                 place(result_.by_head));
    }
    int64_t first = block.kinds;
    for (size_t i = 0; i < block.kind_index.size(); ++i) {
      const int64_t kind = block.kind_index[i];
      const at::Tensor mean = curves[first];
      const at::Tensor margin = root_of_squares(between(first + 1, block.kind_end[i]), 0) *
                                column_.kind_quantiles[static_cast<size_t>(kind)];
      place(result_.kind_mean)[kind].copy_(mean);
      place(result_.kind_ci95_low)[kind].copy_(mean - margin);
      place(result_.kind_ci95_high)[kind].copy_(mean + margin);
      first = block.kind_end[i];
    }
  }

  int64_t t_;
  const DecayColumn& column_;
  int64_t begin_, size_;
  DecayResult& result_;
};

/// What compares row t with its own start at distance 0.
void relate_to_start(int64_t t, const DecayColumn& column, DecayResult& result) {
  at::Tensor start, band_start;
  double norm = 0;
  for (const RowBlock& block : column.blocks) {
    if (!block.turns) continue;
    const int64_t half = block.rotation.inv_freq.size(0);
    const auto at_zero = [&](const at::Tensor& rows) { return rows.narrow(-1, 0, half).sum(-1); };
    const at::Tensor of_block = at_zero(block.rows[0]);
    const at::Tensor of_bands = at_zero(block.rows.narrow(0, block.bands, kDecayBands)).unsqueeze(1);
    start = start.defined() ? start + of_block : of_block;
    band_start = band_start.defined() ? band_start + of_bands : of_bands;
    norm += block.mean_norm * block.rotation.scale;
  }
  if (!start.defined()) return;
  result.relative[t].copy_(result.mean[t] / start);
  result.normalised[t].copy_(result.mean[t] / norm);
  const at::Tensor fall = start - result.mean[t];
  result.band_share[t].copy_((band_start - result.band_contribution[t]) / fall);
  result.band_share[t].masked_fill_(fall == 0, kNan);
}

}  // namespace

DecayColumn make_column(const DecayCoefficients& coefficients, const DecayLayers& layers,
                        int64_t max_position_embeddings, const BaseChange& change,
                        const DecayResult& result) {
  DecayColumn column;
  int64_t whole = 0;
  for (const TurningLayers& part : layers.turning) {
    RowBlock block =
        collect_rows(coefficients, whole, part.layers, kinds_within(layers, part.layers), result);
    block.rotation = layer_rotation(part.facts, max_position_embeddings, change);
    block.rows = block.rows * block.rotation.channel_scale;
    block.mean_norm = coefficients.mean_norm[static_cast<size_t>(whole)];
    column.blocks.push_back(std::move(block));
    ++whole;
  }
  if (!layers.still.empty()) {
    column.blocks.push_back(
        collect_rows(coefficients, -1, layers.still, kinds_within(layers, layers.still), result));
  }
  column.quantile = student_quantile(0.95, coefficients.clusters - 1);
  for (const KindCoefficients& kind : coefficients.kinds) {
    column.kind_quantiles.push_back(student_quantile(0.95, kind.clusters - 1));
  }
  column.layer_quantiles = layer_quantiles_of(coefficients.layer_clusters);
  return column;
}

void evaluate_columns(const std::vector<DecayColumn>& columns, DecayResult& result) {
  // A chunk's curves stay near the caches; its size must not depend on the threads.
  constexpr int64_t kChunkBytes = int64_t{8} << 20;
  int64_t rows = 1;
  for (const RowBlock& block : columns.front().blocks) rows = std::max(rows, block.end);
  const int64_t distances = result.distance.size(0);
  const int64_t chunk = std::clamp<int64_t>(kChunkBytes / (8 * rows), 64, 4096);
  const int64_t chunks = (distances + chunk - 1) / chunk;
  parallel_for_each(static_cast<int64_t>(columns.size()) * chunks, [&](int64_t i) {
    const int64_t begin = i % chunks * chunk;
    Chunk(i / chunks, columns[static_cast<size_t>(i / chunks)], begin, std::min(chunk, distances - begin),
          result)
        .fill();
  });
  for (size_t t = 0; t < columns.size(); ++t) relate_to_start(static_cast<int64_t>(t), columns[t], result);
}

}  // namespace ropescope
