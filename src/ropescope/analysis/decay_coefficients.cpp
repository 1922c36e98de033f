#include "ropescope/analysis/decay_coefficients.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>
#include <vector>

#include <ATen/ops/_unique2.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/block_diag.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include "ropescope/analysis/statistics.h"
#include "ropescope/core/numbers.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/rope/decay_theory.h"

namespace ropescope {

namespace {

constexpr const char* kPairsInterval =
    "95%, cluster-robust over texts (ratio estimator, G/(G-1), Student t with G-1 degrees of freedom)";

/// [groups, 2h] sums of rows by group.
at::Tensor sums_by(const at::Tensor& group, int64_t groups, const at::Tensor& rows) {
  return at::zeros({groups, rows.size(1)}, at::kDouble).index_add_(0, group, rows);
}

at::Tensor counts_by(const at::Tensor& group, int64_t groups) {
  return at::bincount(group, {}, groups).to(at::kDouble);
}

at::Tensor centred_spread(const at::Tensor& rows, const at::Tensor& mean) {
  return compress_deviations((rows - mean) / std::sqrt(static_cast<double>(rows.size(0))));
}

struct Deviations {
  at::Tensor rows;
  int64_t clusters = 0;
};

/// Of the mean of observations whose texts are `text` [N]. Each has numbers in one of the parts ([count, 2h] beside the
/// places [count] of the part's observations among the N) and zeros in the others: [*, parts * 2h]. Texts may carry any
/// numbers; only those that occur count.
Deviations deviations_over_texts(const std::vector<std::pair<at::Tensor, at::Tensor>>& parts,
                                 const at::Tensor& text) {
  const auto [names, cluster, unused] = at::_unique2(text, /*sorted=*/true, /*return_inverse=*/true);
  const int64_t clusters = names.size(0);
  std::vector<at::Tensor> sums;
  for (const auto& [rows, place] : parts) {
    sums.push_back(sums_by(place.defined() ? cluster.index_select(0, place) : cluster, clusters, rows));
  }
  return {compress_deviations(ratio_deviations(at::cat(sums, 1), counts_by(cluster, clusters))), clusters};
}

Deviations deviations_of_rows(const at::Tensor& rows, const at::Tensor& text) {
  return deviations_over_texts({std::pair(rows, at::Tensor())}, text);
}

/// Layer by layer, so that memory follows the pairs and not layers x texts.
void add_layer_deviations(const at::Tensor& rows, const PairSet& pairs, int64_t layers,
                          DecayCoefficients& result) {
  const int64_t width = rows.size(1);
  std::vector<Deviations> of_layer;
  int64_t most = 1;
  for (int64_t layer = 0; layer < layers; ++layer) {
    const at::Tensor chosen = (pairs.layer == layer).nonzero().squeeze(1);
    of_layer.push_back(deviations_of_rows(rows.index_select(0, chosen), pairs.text.index_select(0, chosen)));
    most = std::max(most, of_layer.back().rows.size(0));
  }
  result.layer_deviations = at::zeros({layers, most, width}, at::kDouble);
  result.layer_clusters = at::zeros({layers}, at::kLong);
  for (int64_t layer = 0; layer < layers; ++layer) {
    const Deviations& deviations = of_layer[static_cast<size_t>(layer)];
    result.layer_deviations[layer].narrow(0, 0, deviations.rows.size(0)).copy_(deviations.rows);
    result.layer_clusters[layer] = deviations.clusters;
  }
}

/// Of the pairs in layers that rotate, part by part.
void add_overall(const at::Tensor& rows, const at::Tensor& norms, const PairSet& pairs,
                 const DecayLayers& layers, DecayCoefficients& result) {
  const auto parts = static_cast<int64_t>(layers.turning.size());
  const int64_t width = rows.size(1);
  if (layers.alike()) {  // every pair, in one part
    result.overall = rows.mean(0).unsqueeze(0);
    const Deviations deviations = deviations_of_rows(rows, pairs.text);
    result.clusters = deviations.clusters;
    result.overall_deviations = deviations.rows.unsqueeze(1);
    result.spread = centred_spread(rows, result.overall).unsqueeze(1);
    result.mean_norm = {norms.mean().item<double>()};
    return;
  }
  result.overall = at::zeros({parts, width}, at::kDouble);
  result.overall_deviations = at::full({1, parts, width}, kNan, at::kDouble);
  if (parts == 0) {  // the texts behind the kinds
    result.clusters = std::get<0>(at::_unique2(pairs.text)).size(0);
    return;
  }
  std::vector<int64_t> turning;
  for (const TurningLayers& part : layers.turning) {
    turning.insert(turning.end(), part.layers.begin(), part.layers.end());
  }
  const at::Tensor place = pairs_in(pairs, layers, turning);
  const at::Tensor layer = pairs.layer.index_select(0, place);
  const double count = static_cast<double>(place.size(0));
  std::vector<std::pair<at::Tensor, at::Tensor>> of_parts;
  std::vector<at::Tensor> second;
  for (const TurningLayers& part : layers.turning) {
    const at::Tensor among = layers.among(part.layers).index_select(0, layer).nonzero().squeeze(1);
    const at::Tensor chosen = place.index_select(0, among);
    const at::Tensor own = rows.index_select(0, chosen);
    result.overall[static_cast<int64_t>(of_parts.size())] = own.sum(0) / count;
    result.mean_norm.push_back(norms.index_select(0, chosen).sum().item<double>() / count);
    second.push_back(own.transpose(0, 1).matmul(own) / count);
    of_parts.emplace_back(own, among);
  }
  const Deviations deviations = deviations_over_texts(of_parts, pairs.text.index_select(0, place));
  result.clusters = deviations.clusters;
  result.overall_deviations = deviations.rows.view({-1, parts, width});
  // A pair has numbers in its own part only, so second moments across parts are 0.
  const at::Tensor mean = result.overall.flatten();
  result.spread =
      deviations_of_covariance(at::block_diag(second) - at::outer(mean, mean)).view({-1, parts, width});
}

void add_kinds(const at::Tensor& rows, const PairSet& pairs, const DecayLayers& layers,
               DecayCoefficients& result) {
  for (const LayerKind& kind : layers.kinds) {
    const at::Tensor place = pairs_in(pairs, layers, kind.layers);
    const at::Tensor own = rows.index_select(0, place);
    const Deviations deviations = deviations_of_rows(own, pairs.text.index_select(0, place));
    result.kinds.push_back({own.mean(0), deviations.rows, deviations.clusters, place.size(0)});
  }
}

}  // namespace

at::Tensor pairs_in(const PairSet& pairs, const DecayLayers& layers, const std::vector<int64_t>& wanted) {
  return layers.among(wanted).index_select(0, pairs.layer).nonzero().squeeze(1);
}

at::Tensor in_halves(const at::Tensor& x, const PairSet& pairs, const DecayLayers& layers) {
  const at::Tensor wide = x.to(at::kDouble);
  if (layers.alike()) {
    const at::Tensor& order = layers.turning.front().order;
    return order.defined() ? wide.index_select(1, order) : wide;
  }
  at::Tensor ordered = wide.clone();
  for (const TurningLayers& part : layers.turning) {
    if (!part.order.defined()) continue;
    const at::Tensor place = pairs_in(pairs, layers, part.layers);
    ordered.index_copy_(0, place, wide.index_select(0, place).index_select(1, part.order));
  }
  return ordered;
}

at::Tensor coefficient_rows(const at::Tensor& q, const at::Tensor& k) {
  const auto [a, b] = decay_coefficients(q, k);
  return at::cat({a, b}, -1);
}

DecayCoefficients coefficients_from_pairs(const PairSet& pairs, int64_t heads, const DecayLayers& layers) {
  const at::Tensor q = in_halves(pairs.q, pairs, layers);
  const at::Tensor k = in_halves(pairs.k, pairs, layers);
  const at::Tensor rows = coefficient_rows(q, k);
  const int64_t width = rows.size(1), count = layers.count;
  DecayCoefficients result;

  const at::Tensor by_head = pairs.layer * heads + pairs.head;
  const at::Tensor head_count = counts_by(by_head, count * heads);
  result.count = head_count.to(at::kLong).view({count, heads});
  // 0/0 is the NaN that marks a head without pairs.
  result.head = (sums_by(by_head, count * heads, rows) / head_count.unsqueeze(1)).view({count, heads, width});
  const at::Tensor layer_count = counts_by(pairs.layer, count);
  result.layer = sums_by(pairs.layer, count, rows) / layer_count.unsqueeze(1);

  const at::Tensor norm_q = at::linalg_vector_norm(q, 2, -1), norm_k = at::linalg_vector_norm(k, 2, -1);
  const auto of_layers = [&](const at::Tensor& norms) {
    return sums_by(pairs.layer, count, norms.unsqueeze(1)).squeeze(1) / layer_count;
  };
  result.norm_q = of_layers(norm_q);
  result.norm_k = of_layers(norm_k);
  add_overall(rows, norm_q * norm_k, pairs, layers, result);
  add_layer_deviations(rows, pairs, count, result);
  add_kinds(rows, pairs, layers, result);
  result.interval = result.clusters < 2 ? "none: pairs of one text only" : kPairsInterval;
  return result;
}

}  // namespace ropescope
