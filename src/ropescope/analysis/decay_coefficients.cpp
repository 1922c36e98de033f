#include "ropescope/analysis/decay_coefficients.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <ATen/ops/_unique2.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isfinite.h>
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
constexpr const char* kMomentsInterval =
    "95%, delete-one-text jackknife, Student t with G-1 degrees of freedom";

/// Channel order that makes the rotary pairs, then the others, half-split pairs of the whole vector.
at::Tensor reorder_channels(const at::Tensor& x, int64_t rotary_dim) {
  const int64_t head_dim = x.size(-1);
  if (rotary_dim == head_dim) return x;
  const int64_t half = rotary_dim / 2;
  const int64_t rest = (head_dim - rotary_dim) / 2;
  return at::cat({x.narrow(-1, 0, half), x.narrow(-1, rotary_dim, rest), x.narrow(-1, half, half),
                  x.narrow(-1, rotary_dim + rest, rest)},
                 -1);
}

at::Tensor coefficient_rows(const at::Tensor& q, const at::Tensor& k) {
  const auto [a, b] = decay_coefficients(q, k);
  return at::cat({a, b}, -1);
}

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

/// Of the mean of `rows` [N, 2h] whose texts are `text` [N]. Texts may carry any numbers; only those that
/// occur count.
Deviations deviations_over_texts(const at::Tensor& rows, const at::Tensor& text) {
  const auto [names, cluster, unused] = at::_unique2(text, /*sorted=*/true, /*return_inverse=*/true);
  const int64_t clusters = names.size(0);
  return {
      compress_deviations(ratio_deviations(sums_by(cluster, clusters, rows), counts_by(cluster, clusters))),
      clusters};
}

/// Layer by layer, so that memory follows the pairs and not layers x texts.
void add_layer_deviations(const at::Tensor& rows, const PairSet& pairs, int64_t layers,
                          DecayCoefficients& result) {
  const int64_t width = rows.size(1);
  std::vector<Deviations> of_layer;
  int64_t most = 1;
  for (int64_t layer = 0; layer < layers; ++layer) {
    const at::Tensor chosen = (pairs.layer == layer).nonzero().squeeze(1);
    of_layer.push_back(
        deviations_over_texts(rows.index_select(0, chosen), pairs.text.index_select(0, chosen)));
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

}  // namespace

DecayCoefficients coefficients_from_pairs(const PairSet& pairs, int64_t layers, int64_t heads,
                                          int64_t rotary_dim) {
  const at::Tensor q = reorder_channels(pairs.q.to(at::kDouble), rotary_dim);
  const at::Tensor k = reorder_channels(pairs.k.to(at::kDouble), rotary_dim);
  const at::Tensor rows = coefficient_rows(q, k);
  const int64_t width = rows.size(1);
  DecayCoefficients result;

  const at::Tensor by_head = pairs.layer * heads + pairs.head;
  const at::Tensor head_count = counts_by(by_head, layers * heads);
  result.count = head_count.to(at::kLong).view({layers, heads});
  // 0/0 is the NaN that marks a head without pairs.
  result.head =
      (sums_by(by_head, layers * heads, rows) / head_count.unsqueeze(1)).view({layers, heads, width});
  const at::Tensor layer_count = counts_by(pairs.layer, layers);
  result.layer = sums_by(pairs.layer, layers, rows) / layer_count.unsqueeze(1);
  result.overall = rows.mean(0);

  const Deviations overall = deviations_over_texts(rows, pairs.text);
  result.clusters = overall.clusters;
  result.overall_deviations = overall.rows;
  add_layer_deviations(rows, pairs, layers, result);

  result.spread = centred_spread(rows, result.overall);
  result.mean_norm =
      (at::linalg_vector_norm(q, 2, -1) * at::linalg_vector_norm(k, 2, -1)).mean().item<double>();
  result.interval = result.clusters < 2 ? "none: pairs of one text only" : kPairsInterval;
  return result;
}

at::Tensor coefficient_second_moment(const at::Tensor& q2, const at::Tensor& k2) {
  const int64_t half = q2.size(-1) / 2;
  // block(x, r, c): rows of the first (0) or second (1) channel of each pair, columns likewise.
  const auto block = [half](const at::Tensor& x, int64_t r, int64_t c) {
    return x.narrow(-2, r * half, half).narrow(-1, c * half, half);
  };
  const auto product = [&](int64_t qr, int64_t qc, int64_t kr, int64_t kc) {
    return block(q2, qr, qc) * block(k2, kr, kc);
  };
  const at::Tensor aa = product(0, 0, 0, 0) + product(0, 1, 0, 1) + product(1, 0, 1, 0) + product(1, 1, 1, 1);
  const at::Tensor bb = product(1, 1, 0, 0) - product(1, 0, 0, 1) - product(0, 1, 1, 0) + product(0, 0, 1, 1);
  const at::Tensor ab = product(0, 1, 0, 0) - product(0, 0, 0, 1) + product(1, 1, 1, 0) - product(1, 0, 1, 1);
  return at::cat({at::cat({aa, ab}, -1), at::cat({ab.transpose(-1, -2), bb}, -1)}, -2);
}

bool has_usable_text_moments(const MomentSet& moments, const at::Tensor& measured) {
  if (!moments.text_count.defined() || moments.text_count.size(0) < 2) return false;
  if (moments.text_count.min().item<int64_t>() < 1) return false;
  // Every measured head must have been measured on all of the texts' tokens.
  const int64_t total = moments.text_count.sum().item<int64_t>();
  return (moments.count == total).logical_or(measured.logical_not()).all().item<bool>();
}

at::Tensor mean_without_text(const MomentSet& moments, const at::Tensor& mean, const at::Tensor& text_mean,
                             int64_t text) {
  const double total = moments.text_count.sum().item<double>();
  const double tokens = moments.text_count[text].item<double>();
  return (total * mean - tokens * text_mean[text].to(at::kDouble)) / (total - tokens);
}

namespace {

/// Leave-one-text-out coefficient rows of each layer's mean over heads, [S, L, 2h], and which heads count.
at::Tensor leave_one_out_rows(const MomentSet& moments, const at::Tensor& measured, int64_t rotary_dim) {
  const at::Tensor weight = measured.to(at::kDouble).unsqueeze(-1);
  std::vector<at::Tensor> rows;
  for (int64_t text = 0; text < moments.text_count.size(0); ++text) {
    const auto without = [&](const at::Tensor& mean, const at::Tensor& text_mean) {
      return reorder_channels(mean_without_text(moments, mean, text_mean, text), rotary_dim);
    };
    const at::Tensor of_head = coefficient_rows(without(moments.mean_q, moments.text_mean_q),
                                                without(moments.mean_k, moments.text_mean_k));
    rows.push_back(of_head.masked_fill(weight == 0, 0.0).sum(1) / weight.sum(1));
  }
  return at::stack(rows);
}

/// Spread of single logits and mean norm, layer by layer: a layer's second moments are H D^2 numbers.
void add_second_moments(const MomentSet& moments, const at::Tensor& mean_q, const at::Tensor& mean_k,
                        const at::Tensor& measured, int64_t rotary_dim, DecayCoefficients& result) {
  const int64_t width = mean_q.size(2);
  at::Tensor second = at::zeros({width, width}, at::kDouble);
  double norms = 0;
  const auto squared_norm = [](const at::Tensor& x) { return x.diagonal(0, -2, -1).sum(-1); };
  for (int64_t layer = 0; layer < mean_q.size(0); ++layer) {
    const at::Tensor chosen = measured[layer].nonzero().squeeze(1);
    const auto second_moment = [&](const at::Tensor& mean, const at::Tensor& covariance) {
      const at::Tensor by_column = reorder_channels(covariance[layer].index_select(0, chosen), rotary_dim);
      const at::Tensor ordered = reorder_channels(by_column.transpose(-1, -2), rotary_dim);
      const at::Tensor centre = mean[layer].index_select(0, chosen);
      return ordered + centre.unsqueeze(-1) * centre.unsqueeze(-2);
    };
    const at::Tensor q2 = second_moment(mean_q, moments.cov_q);
    const at::Tensor k2 = second_moment(mean_k, moments.cov_k);
    second += coefficient_second_moment(q2, k2).sum(0);
    norms += (squared_norm(q2) * squared_norm(k2)).sqrt().sum().item<double>();
  }
  const double heads = measured.sum().item<double>();
  result.mean_norm = norms / heads;
  const at::Tensor covariance = second / heads - at::outer(result.overall, result.overall);
  if (at::isfinite(covariance).all().item<bool>()) result.spread = deviations_of_covariance(covariance);
}

}  // namespace

DecayCoefficients coefficients_from_moments(const MomentSet& moments, int64_t rotary_dim) {
  const at::Tensor measured = moments.count > 0;
  const at::Tensor mean_q = reorder_channels(moments.mean_q, rotary_dim);
  const at::Tensor mean_k = reorder_channels(moments.mean_k, rotary_dim);
  const int64_t layers = mean_q.size(0);
  const int64_t width = mean_q.size(2);
  DecayCoefficients result;
  result.count = moments.count;
  result.head = coefficient_rows(mean_q, mean_k).masked_fill(measured.logical_not().unsqueeze(-1), kNan);
  const at::Tensor heads_of_layer = measured.to(at::kDouble).sum(1);
  const at::Tensor filled = result.head.masked_fill(measured.logical_not().unsqueeze(-1), 0.0);
  result.layer = filled.sum(1) / heads_of_layer.unsqueeze(1);
  result.overall = filled.sum({0, 1}) / heads_of_layer.sum();

  result.overall_deviations = at::full({1, width}, kNan, at::kDouble);
  result.layer_deviations = at::full({layers, 1, width}, kNan, at::kDouble);
  result.layer_clusters = at::zeros({layers}, at::kLong);
  result.interval = "none: the file holds no moments of single texts, or of one text only";
  if (has_usable_text_moments(moments, measured)) {
    result.interval = kMomentsInterval;
    result.clusters = moments.text_count.size(0);
    result.layer_clusters.fill_(result.clusters);
    const at::Tensor rows = leave_one_out_rows(moments, measured, rotary_dim);  // [S, L, 2h]
    const at::Tensor weight = heads_of_layer.unsqueeze(1);
    const at::Tensor overall = (rows.masked_fill(weight == 0, 0.0) * weight).sum(1) / heads_of_layer.sum();
    result.overall_deviations = compress_deviations(jackknife_deviations(overall));
    std::vector<at::Tensor> deviations;
    for (int64_t layer = 0; layer < layers; ++layer) {
      deviations.push_back(compress_deviations(jackknife_deviations(rows.select(1, layer))));
    }
    result.layer_deviations = at::stack(deviations);
  }

  result.mean_norm = kNan;
  if (moments.cov_q.defined()) add_second_moments(moments, mean_q, mean_k, measured, rotary_dim, result);
  return result;
}

}  // namespace ropescope
