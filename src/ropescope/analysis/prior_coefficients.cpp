#include "ropescope/analysis/prior_coefficients.h"

#include <algorithm>

#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include "ropescope/analysis/decay_coefficients.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/rope/decay_theory.h"

namespace ropescope {

namespace {

/// Rows of A, B, r from means [n, D].
at::Tensor coefficient_rows_of_means(const at::Tensor& q, const at::Tensor& k, int64_t rotary_dim) {
  const int64_t rest = q.size(1) - rotary_dim;
  const auto [a, b] = decay_coefficients(q.narrow(1, 0, rotary_dim), k.narrow(1, 0, rotary_dim));
  const at::Tensor unrotated =
      (q.narrow(1, rotary_dim, rest) * k.narrow(1, rotary_dim, rest)).sum(1, /*keepdim=*/true);
  return at::cat({a, b, unrotated}, 1);
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
                                   mean(moments.mean_k, moments.text_mean_k), rotary_dim);
}

PriorCoefficients prior_coefficients(const Samples& samples, int64_t rotary_dim,
                                     const std::vector<int64_t>& layers, const std::vector<int64_t>& heads) {
  if (!samples.moments) throw InternalError("prior: samples without moments");
  PriorCoefficients result;
  result.moments = *samples.moments;
  const at::Tensor& mean_q = result.moments.mean_q;
  result.model_layers = mean_q.size(0);
  result.model_heads = mean_q.size(1);
  result.head_dim = mean_q.size(2);
  result.rotary_dim = rotary_dim;
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
  result.rows = coefficient_rows_of_means(chosen_heads(mean_q, result),
                                          chosen_heads(result.moments.mean_k, result), rotary_dim);
  if (has_usable_text_moments(result.moments, measured)) result.texts = result.moments.text_count.size(0);
  return result;
}

}  // namespace ropescope
