#include "ropescope/models/attention.h"

#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/numbers.h"
#include "ropescope/models/attention_rows.h"

namespace ropescope {

at::Tensor split_heads(const at::Tensor& x, int64_t heads) {
  return x.unflatten(-1, {heads, x.size(-1) / heads}).transpose(1, 2);
}

namespace {

// Written out. Fused backward passes rebuild the softmax from its logarithm, which does not exist for a row
// of equally hidden keys.
at::Tensor plain_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const at::Tensor& bias) {
  const int64_t group = q.size(1) / k.size(1);
  const at::Tensor keys = k.repeat_interleave(group, 1), values = v.repeat_interleave(group, 1);
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(3)));
  const at::Tensor scores = at::matmul(q, keys.transpose(2, 3)).mul(scale).add(bias);
  return at::matmul(scores.softmax(-1), values).transpose(1, 2).flatten(2);
}

at::Tensor fused_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const at::Tensor& bias, bool is_causal) {
  const bool grouped = q.size(1) != k.size(1);
  const auto mask = bias.defined() ? std::optional<at::Tensor>(bias) : std::nullopt;
  const at::Tensor out = at::scaled_dot_product_attention(q, k, v, mask, /*dropout_p=*/0.0, is_causal,
                                                          /*scale=*/std::nullopt, /*enable_gqa=*/grouped);
  return out.transpose(1, 2).flatten(2);
}

}  // namespace

AttentionPlan::AttentionPlan(int64_t batch, int64_t tokens, int64_t past, const at::Tensor& attention_mask,
                             std::vector<int64_t> segment_lengths, at::ScalarType dtype, at::Device device,
                             BlindQuery blind_query)
    : tokens_(tokens), past_(past), segment_lengths_(std::move(segment_lengths)), device_(device) {
  if (!segment_lengths_.empty()) {
    int64_t sum = 0;
    for (const int64_t length : segment_lengths_) {
      if (length < 1) throw InputError("packed texts: expected at least one token in each, found {}", length);
      sum += length;
    }
    if (batch != 1 || past != 0 || attention_mask.defined() || sum != tokens) {
      throw InputError(
          "packed texts: expected one row of {} tokens without mask or past, found {} rows of {} tokens", sum,
          batch, tokens);
    }
    return;
  }
  const int64_t keys = past + tokens;
  if (attention_mask.defined()) {
    if (attention_mask.dim() != 2 || attention_mask.size(0) != batch || attention_mask.size(1) != keys) {
      throw InputError("attention mask: expected [{}, {}] (rows, tokens), found {} dimensions of {} values",
                       batch, keys, attention_mask.dim(), attention_mask.numel());
    }
    // Looked at where it lies, on the host as a rule: reading from a device would wait for it.
    const at::Tensor real = attention_mask.ne(0);
    if (!real.all().item<bool>()) {
      key_mask_ = real.to(device);
      some_blind_ =
          blind_query == BlindQuery::kMean && real.cumsum(1).narrow(1, past, tokens).eq(0).any().item<bool>();
    }
  }
  const bool one_new = tokens == 1 && !key_mask_.defined();
  const bool plain = past == 0 && !key_mask_.defined();
  if (one_new || plain) return;
  std::vector<int64_t> all(static_cast<size_t>(tokens));
  std::iota(all.begin(), all.end(), 0);
  const at::Tensor hidden = visible_rows(all).logical_not();
  bias_ = at::zeros(hidden.sizes(), at::TensorOptions().dtype(dtype).device(device))
              .masked_fill_(hidden, kNegativeInfinity);
  if (blind_query == BlindQuery::kMean) {
    const at::Tensor blind = hidden.all(-1, /*keepdim=*/true);
    // The lowest finite number swallows every score, so that all keys weigh the same.
    const double lowest = dtype == at::kHalf ? -65504.0 : std::numeric_limits<float>::lowest() * 0.99;
    bias_.masked_fill_(blind, lowest);
  }
}

at::Tensor AttentionPlan::attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) const {
  if (some_blind_ && at::GradMode::is_enabled()) return plain_attention(q, k, v, bias_);
  if (segment_lengths_.empty()) {
    return fused_attention(q, k, v, bias_, /*is_causal=*/!bias_.defined() && past_ == 0 && tokens_ > 1);
  }
  std::vector<at::Tensor> parts;
  int64_t first = 0;
  for (const int64_t length : segment_lengths_) {
    const auto part = [&](const at::Tensor& x) { return x.narrow(2, first, length); };
    parts.push_back(fused_attention(part(q), part(k), part(v), {}, /*is_causal=*/length > 1));
    first += length;
  }
  return parts.size() == 1 ? parts[0] : at::cat(parts, 1);
}

// Bool [B or 1, 1, n, S].
at::Tensor AttentionPlan::visible_rows(const std::vector<int64_t>& query_index) const {
  const auto longs = at::TensorOptions().dtype(at::kLong).device(device_);
  const at::Tensor key = at::arange(past_ + tokens_, longs);
  const at::Tensor query = at::tensor(query_index, at::kLong).to(device_).add(past_).unsqueeze(1);
  at::Tensor visible = key.le(query).unsqueeze(0).unsqueeze(0);
  if (key_mask_.defined()) visible = visible.logical_and(key_mask_.unsqueeze(1).unsqueeze(1));
  if (!segment_lengths_.empty()) {
    std::vector<int64_t> start;
    int64_t first = 0;
    for (const int64_t length : segment_lengths_) {
      start.insert(start.end(), static_cast<size_t>(length), first);
      first += length;
    }
    const at::Tensor start_of_token = at::tensor(start, at::kLong).to(device_);
    visible = visible.logical_and(key.ge(start_of_token.index_select(0, query.squeeze(1)).unsqueeze(1)));
  }
  return visible;
}

at::Tensor AttentionPlan::rows(const at::Tensor& q, const at::Tensor& k,
                               const std::vector<int64_t>& query_index) const {
  return softmax_of_visible(score_rows(q, k, query_index), visible_rows(query_index).logical_not());
}

}  // namespace ropescope
