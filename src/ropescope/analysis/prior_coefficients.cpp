#include "ropescope/analysis/prior_coefficients.h"

#include <algorithm>
#include <cmath>

#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/analysis/decay_coefficients.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/rope/decay_theory.h"

namespace ropescope {

namespace {

/// Rows of A, B, r of one part from means [n, D], behind its own pairs 0 up to `pairs`.
at::Tensor rows_of_part(const at::Tensor& q, const at::Tensor& k, const PriorPart& part, int64_t pairs) {
  const auto turning = [&](const at::Tensor& x) { return x.index_select(1, part.turning); };
  const auto still = [&](const at::Tensor& x) { return x.index_select(1, part.still); };
  const auto [a, b] = decay_coefficients(turning(q), turning(k));
  const at::Tensor rest = (still(q) * still(k)).sum(1, /*keepdim=*/true);
  const at::Tensor none = at::zeros({q.size(0), pairs - part.pairs()}, at::kDouble);
  return at::cat({a, none, b, none, rest}, 1);
}

/// [n, C] from means [n, D].
at::Tensor coefficient_rows_of_means(const at::Tensor& q, const at::Tensor& k,
                                     const std::vector<PriorPart>& parts) {
  int64_t pairs = 0;
  for (const PriorPart& part : parts) pairs = std::max(pairs, part.pairs());
  if (parts.size() == 1) return rows_of_part(q, k, parts.front(), pairs);
  at::Tensor rows = at::zeros({q.size(0), 2 * pairs + 1}, at::kDouble);
  for (const PriorPart& part : parts) {
    const at::Tensor index = at::tensor(part.rows, at::kLong);
    rows.index_copy_(0, index, rows_of_part(q.index_select(0, index), k.index_select(0, index), part, pairs));
  }
  return rows;
}

bool of_one_part(const LayerFacts& a, const LayerFacts& b) {
  return turn_alike(a, b) && a.window == b.window && a.chunk == b.chunk && a.score_scale == b.score_scale;
}

PriorPart make_part(const LayerFacts& facts, int64_t max_position_embeddings) {
  PriorPart part;
  part.facts = facts;
  const int64_t pairs =
      facts.rotates ? layer_frequencies(facts, max_position_embeddings).inv_freq.size(0) : 0;
  const int64_t half = facts.head_dim / 2;
  const at::Tensor order = halves_order(facts, 2 * pairs);
  part.turning = at::cat({order.narrow(0, 0, pairs), order.narrow(0, half, pairs)});
  part.still = at::cat({order.narrow(0, pairs, half - pairs), order.narrow(0, half + pairs, half - pairs)});
  const double root = std::sqrt(static_cast<double>(facts.head_dim));
  const bool known = facts.score_scale > 0;
  part.score_scale = known ? facts.score_scale : 1.0 / root;
  part.logit_of_score = known ? 1.0 / facts.score_scale : root;
  return part;
}

/// Puts every row into the part that its layer belongs to.
void divide_rows(const std::vector<LayerFacts>& facts, int64_t max_position_embeddings,
                 PriorCoefficients& result) {
  for (size_t row = 0; row < result.layer.size(); ++row) {
    const LayerFacts& layer = facts[static_cast<size_t>(result.layer[row])];
    auto part = std::find_if(result.parts.begin(), result.parts.end(),
                             [&](const PriorPart& known) { return of_one_part(known.facts, layer); });
    if (part == result.parts.end()) {
      part = result.parts.insert(part, make_part(layer, max_position_embeddings));
    }
    part->rows.push_back(static_cast<int64_t>(row));
  }
}

void refuse_normed_layers(const std::vector<LayerFacts>& facts, const PriorCoefficients& chosen) {
  std::vector<int64_t> normed, others;
  for (const int64_t layer : chosen.layer) {
    (facts[static_cast<size_t>(layer)].norm_after_rotation ? normed : others).push_back(layer);
  }
  if (normed.empty()) return;
  throw UsageError(
      "--layers: layers {} normalise q and k after the rotation, so that mean vectors say nothing of their logits{}",
      ranges_text(normed), others.empty() ? "" : "; choose --layers " + ranges_text(others));
}

at::Tensor chosen_heads(const at::Tensor& values, const PriorCoefficients& coefficients) {
  return values.index({at::tensor(coefficients.layer, at::kLong), at::tensor(coefficients.head, at::kLong)})
      .to(at::kDouble);
}

std::vector<int64_t> selection(const std::vector<int64_t>& wanted, int64_t end, const char* flag) {
  std::vector<int64_t> chosen = wanted;
  if (wanted.empty()) {
    for (int64_t i = 0; i < end; ++i) chosen.push_back(i);
  }
  std::sort(chosen.begin(), chosen.end());
  chosen.erase(std::unique(chosen.begin(), chosen.end()), chosen.end());
  for (const int64_t i : chosen) {
    if (i < 0 || i >= end) throw UsageError("--{}: expected 0 to {}, found {}", flag, end - 1, i);
  }
  return chosen;
}

}  // namespace

at::Tensor PriorCoefficients::rows_without_text(int64_t text) const {
  const auto mean = [&](const at::Tensor& all, const at::Tensor& of_texts) {
    return chosen_heads(mean_without_text(moments, all, of_texts, text), *this);
  };
  return coefficient_rows_of_means(mean(moments.mean_q, moments.text_mean_q),
                                   mean(moments.mean_k, moments.text_mean_k), parts);
}

PriorCoefficients prior_coefficients(const Samples& samples, const std::vector<LayerFacts>& facts,
                                     const std::vector<int64_t>& layers, const std::vector<int64_t>& heads) {
  if (!samples.moments) throw InternalError("prior: samples without moments");
  PriorCoefficients result;
  result.moments = *samples.moments;
  const at::Tensor& mean_q = result.moments.mean_q;
  result.model_layers = mean_q.size(0);
  result.model_heads = mean_q.size(1);
  result.head_dim = mean_q.size(2);
  const int64_t named = samples.model.num_key_value_heads;
  result.kv_heads = named > 0 ? named : result.model_heads;
  if (result.model_heads % result.kv_heads != 0) {
    throw InputError(
        "samples: num_key_value_heads: expected a divisor of the {} query heads of /moments, found {}",
        result.model_heads, result.kv_heads);
  }
  const at::Tensor measured = (result.moments.count > 0).contiguous();
  for (const int64_t layer : selection(layers, result.model_layers, "layers")) {
    for (const int64_t head : selection(heads, result.model_heads, "heads")) {
      if (!measured.const_data_ptr<bool>()[layer * result.model_heads + head]) continue;
      result.layer.push_back(layer);
      result.head.push_back(head);
    }
  }
  if (result.layer.empty()) {
    throw InputError("samples: /moments: none of the chosen layers and heads was measured");
  }
  refuse_normed_layers(facts, result);
  divide_rows(facts, samples.model.max_position_embeddings, result);
  result.rows = coefficient_rows_of_means(chosen_heads(mean_q, result),
                                          chosen_heads(result.moments.mean_k, result), result.parts);
  if (has_usable_text_moments(result.moments, measured)) result.texts = result.moments.text_count.size(0);
  return result;
}

}  // namespace ropescope
