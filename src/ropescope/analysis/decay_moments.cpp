// Coefficients from moments of heads (decay_coefficients.h).
#include <ATen/ops/block_diag.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include "ropescope/analysis/decay_coefficients.h"
#include "ropescope/analysis/statistics.h"
#include "ropescope/core/numbers.h"
#include "ropescope/core/tensor_operators.h"

namespace ropescope {

namespace {

constexpr const char* kMomentsInterval =
    "95%, delete-one-text jackknife, Student t with G-1 degrees of freedom";

/// x [L, ..., D], the last axis in halves of each layer's pairs.
at::Tensor channels_in_halves(const at::Tensor& x, const DecayLayers& layers) {
  if (layers.alike()) {
    const at::Tensor& order = layers.turning.front().order;
    return order.defined() ? x.index_select(-1, order) : x;
  }
  at::Tensor ordered = x.clone();
  for (const TurningLayers& part : layers.turning) {
    if (!part.order.defined()) continue;
    for (const int64_t layer : part.layers) ordered[layer].copy_(x[layer].index_select(-1, part.order));
  }
  return ordered;
}

/// [L, 1] float64: heads measured in each layer, 0 outside of `wanted`.
at::Tensor weight_in(const at::Tensor& heads_of_layer, const DecayLayers& layers,
                     const std::vector<int64_t>& wanted) {
  return (heads_of_layer * layers.among(wanted).to(at::kDouble)).unsqueeze(1);
}

/// Leave-one-text-out coefficient rows of each layer's mean over heads, [S, L, 2h].
at::Tensor leave_one_out_rows(const MomentSet& moments, const at::Tensor& measured,
                              const DecayLayers& layers) {
  const at::Tensor weight = measured.to(at::kDouble).unsqueeze(-1);
  std::vector<at::Tensor> rows;
  for (int64_t text = 0; text < moments.text_count.size(0); ++text) {
    const auto without = [&](const at::Tensor& mean, const at::Tensor& text_mean) {
      return channels_in_halves(mean_without_text(moments, mean, text_mean, text), layers);
    };
    const at::Tensor of_head = coefficient_rows(without(moments.mean_q, moments.text_mean_q),
                                                without(moments.mean_k, moments.text_mean_k));
    rows.push_back(of_head.masked_fill(weight == 0, 0.0).sum(1) / weight.sum(1));
  }
  return at::stack(rows);
}

/// Spread of single logits and mean norm, layer by layer: a layer's second moments are H D^2 numbers.
void add_second_moments(const MomentSet& moments, const at::Tensor& mean_q, const at::Tensor& mean_k,
                        const at::Tensor& measured, const DecayLayers& layers, DecayCoefficients& result) {
  const int64_t width = mean_q.size(2);
  const auto squared_norm = [](const at::Tensor& x) { return x.diagonal(0, -2, -1).sum(-1); };
  result.norm_q = at::full({layers.count}, kNan, at::kDouble);
  result.norm_k = at::full({layers.count}, kNan, at::kDouble);
  struct Second {
    at::Tensor q, k;  // [heads, D, D]
  };
  const auto second_of = [&](int64_t layer, const at::Tensor& order) {
    const at::Tensor chosen = measured[layer].nonzero().squeeze(1);
    const auto second_moment = [&](const at::Tensor& mean, const at::Tensor& covariance) {
      at::Tensor ordered = covariance[layer].index_select(0, chosen);
      if (order.defined()) ordered = ordered.index_select(-1, order);
      ordered = ordered.transpose(-1, -2);
      if (order.defined()) ordered = ordered.index_select(-1, order);
      const at::Tensor centre = mean[layer].index_select(0, chosen);
      return ordered + centre.unsqueeze(-1) * centre.unsqueeze(-2);
    };
    const Second second{second_moment(mean_q, moments.cov_q), second_moment(mean_k, moments.cov_k)};
    if (chosen.size(0) > 0) {
      result.norm_q[layer] = squared_norm(second.q).mean().sqrt();
      result.norm_k[layer] = squared_norm(second.k).mean().sqrt();
    }
    return second;
  };
  std::vector<at::Tensor> parts;
  std::vector<int64_t> turning;
  for (const TurningLayers& part : layers.turning) {
    at::Tensor sum = at::zeros({width, width}, at::kDouble);
    double norms = 0;
    for (const int64_t layer : part.layers) {
      const auto [q2, k2] = second_of(layer, part.order);
      sum += coefficient_second_moment(q2, k2).sum(0);
      norms += (squared_norm(q2) * squared_norm(k2)).sqrt().sum().item<double>();
    }
    parts.push_back(sum);
    result.mean_norm.push_back(norms);
    turning.insert(turning.end(), part.layers.begin(), part.layers.end());
  }
  for (const int64_t layer : layers.still) second_of(layer, {});
  if (parts.empty()) return;
  const double heads = measured.logical_and(layers.among(turning).unsqueeze(1)).sum().item<double>();
  for (double& norm : result.mean_norm) norm /= heads;
  const at::Tensor second = parts.size() == 1 ? parts.front() : at::block_diag(parts);
  const at::Tensor mean = result.overall.flatten();
  const at::Tensor covariance = second / heads - at::outer(mean, mean);
  if (at::isfinite(covariance).all().item<bool>()) {
    result.spread =
        deviations_of_covariance(covariance).view({-1, static_cast<int64_t>(parts.size()), width});
  }
}

/// A mean over layers: its part of each of the given weights [L, 1], and how it moves without each text.
struct LayerMean {
  std::vector<at::Tensor> mean;  // [2h]
  at::Tensor deviations;         // [*, parts * 2h]
};

LayerMean mean_over_layers(const at::Tensor& head_sums, const at::Tensor& rows_without,
                           const at::Tensor& layer_weight, const std::vector<at::Tensor>& parts) {
  LayerMean result;
  double total = 0;
  for (const at::Tensor& weight : parts) total += weight.sum().item<double>();
  std::vector<at::Tensor> without;
  for (const at::Tensor& weight : parts) {
    result.mean.push_back(head_sums.masked_fill(weight == 0, 0.0).sum(0) / total);
    if (rows_without.defined()) {
      without.push_back((rows_without.masked_fill(layer_weight == 0, 0.0) * weight).sum(1) / total);
    }
  }
  result.deviations =
      rows_without.defined()
          ? compress_deviations(jackknife_deviations(at::cat(without, 1)))
          : at::full({1, head_sums.size(1) * static_cast<int64_t>(parts.size())}, kNan, at::kDouble);
  return result;
}

}  // namespace

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

DecayCoefficients coefficients_from_moments(const MomentSet& moments, const DecayLayers& layers) {
  const at::Tensor measured = moments.count > 0;
  const at::Tensor mean_q = channels_in_halves(moments.mean_q, layers);
  const at::Tensor mean_k = channels_in_halves(moments.mean_k, layers);
  const int64_t count = layers.count, width = mean_q.size(2);
  const auto parts = static_cast<int64_t>(layers.turning.size());
  DecayCoefficients result;
  result.count = moments.count;
  result.head = coefficient_rows(mean_q, mean_k).masked_fill(measured.logical_not().unsqueeze(-1), kNan);
  const at::Tensor heads_of_layer = measured.to(at::kDouble).sum(1);
  const at::Tensor filled = result.head.masked_fill(measured.logical_not().unsqueeze(-1), 0.0);
  const at::Tensor head_sums = filled.sum(1);
  result.layer = head_sums / heads_of_layer.unsqueeze(1);

  result.layer_deviations = at::full({count, 1, width}, kNan, at::kDouble);
  result.layer_clusters = at::zeros({count}, at::kLong);
  result.interval = "none: the file holds no moments of single texts, or of one text only";
  at::Tensor rows_without;  // [S, L, 2h]
  if (has_usable_text_moments(moments, measured)) {
    result.interval = kMomentsInterval;
    result.clusters = moments.text_count.size(0);
    result.layer_clusters.fill_(result.clusters);
    rows_without = leave_one_out_rows(moments, measured, layers);
    std::vector<at::Tensor> deviations;
    for (int64_t layer = 0; layer < count; ++layer) {
      deviations.push_back(compress_deviations(jackknife_deviations(rows_without.select(1, layer))));
    }
    result.layer_deviations = at::stack(deviations);
  }

  const at::Tensor layer_weight = heads_of_layer.unsqueeze(1);
  const auto mean_of = [&](const std::vector<at::Tensor>& weights) {
    return mean_over_layers(head_sums, rows_without, layer_weight, weights);
  };
  std::vector<at::Tensor> weights;
  for (const TurningLayers& part : layers.turning)
    weights.push_back(weight_in(heads_of_layer, layers, part.layers));
  if (parts == 0) {
    result.overall = at::zeros({0, width}, at::kDouble);
    result.overall_deviations = at::full({1, 0, width}, kNan, at::kDouble);
  } else {
    const LayerMean overall = mean_of(weights);
    // The mean over layers and heads at once where one rotation turns all, as files without layers have it.
    result.overall =
        layers.alike() ? (filled.sum({0, 1}) / heads_of_layer.sum()).unsqueeze(0) : at::stack(overall.mean);
    result.overall_deviations = overall.deviations.view({-1, parts, width});
  }
  for (const LayerKind& kind : layers.kinds) {
    const at::Tensor weight = weight_in(heads_of_layer, layers, kind.layers);
    const LayerMean mean = mean_of({weight});
    const int64_t behind = moments.count.masked_fill(weight == 0, 0).sum().item<int64_t>();
    result.kinds.push_back({mean.mean.front(), mean.deviations, result.clusters, behind});
  }

  if (moments.cov_q.defined()) {
    add_second_moments(moments, mean_q, mean_k, measured, layers, result);
  } else {
    result.mean_norm.assign(layers.turning.size(), kNan);
  }
  return result;
}

}  // namespace ropescope
