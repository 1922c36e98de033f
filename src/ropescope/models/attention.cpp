#include "ropescope/models/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <unordered_map>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/numbers.h"
#include "ropescope/models/attention_rows.h"

namespace ropescope {

at::Tensor split_heads(const at::Tensor& x, int64_t heads) {
  return x.unflatten(-1, {heads, x.size(-1) / heads}).transpose(1, 2);
}

namespace {

constexpr int64_t kQueriesAtOnce = 256;

// Written out. Fused backward passes rebuild the softmax from its logarithm, which does not exist for a row
// of equally hidden keys.
at::Tensor plain_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const at::Tensor& bias, double scale) {
  const int64_t group = q.size(1) / k.size(1);
  const at::Tensor keys = k.repeat_interleave(group, 1), values = v.repeat_interleave(group, 1);
  const at::Tensor scores = at::matmul(q, keys.transpose(2, 3)).mul(scale).add(bias);
  return at::matmul(scores.softmax(-1), values).transpose(1, 2).flatten(2);
}

// A scale of 1 / sqrt(head_dim) is left to the kernel.
std::optional<double> unusual(double scale, int64_t head_dim) {
  return scale == 1.0 / std::sqrt(static_cast<double>(head_dim)) ? std::nullopt
                                                                 : std::optional<double>(scale);
}

at::Tensor fused_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const at::Tensor& bias, bool is_causal, double scale) {
  const bool grouped = q.size(1) != k.size(1);
  const auto mask = bias.defined() ? std::optional<at::Tensor>(bias) : std::nullopt;
  const at::Tensor out = at::scaled_dot_product_attention(q, k, v, mask, /*dropout_p=*/0.0, is_causal,
                                                          unusual(scale, q.size(3)), /*enable_gqa=*/grouped);
  return out.transpose(1, 2).flatten(2);
}

// softmax(scores, sink) without the sink's share; a row that sees nothing is zero. scores [B, H, n, S] float32.
at::Tensor softmax_rows(const at::Tensor& scores, const at::Tensor& hidden, const at::Tensor& sinks) {
  if (!sinks.defined()) return softmax_of_visible(scores, hidden);
  const at::Tensor sink = sinks.to(scores.scalar_type())
                              .view({1, -1, 1, 1})
                              .expand({scores.size(0), scores.size(1), scores.size(2), 1});
  const at::Tensor all = at::cat({scores.masked_fill(hidden, kNegativeInfinity), sink}, -1).softmax(-1);
  return all.narrow(-1, 0, scores.size(-1));
}

at::Tensor capped(const at::Tensor& scores, double softcap) {
  return softcap > 0 ? scores.div(softcap).tanh().mul(softcap) : scores;
}

}  // namespace

double ScoreRule::scale_of(int64_t head_dim) const {
  return scale != 0 ? scale : 1.0 / std::sqrt(static_cast<double>(head_dim));
}

bool ScoreRule::is_plain(int64_t keys, int64_t head_dim) const {
  const double usual = 1.0 / std::sqrt(static_cast<double>(head_dim));
  return softcap == 0 && !sinks.defined() && sees_all(keys) &&
         std::abs(scale_of(head_dim) / usual - 1) < 1e-12;
}

AttentionPlan::AttentionPlan(int64_t batch, int64_t tokens, int64_t past, const at::Tensor& attention_mask,
                             std::vector<int64_t> segment_lengths, at::ScalarType dtype, at::Device device,
                             BlindQuery blind_query, const at::Tensor& groups)
    : tokens_(tokens),
      past_(past),
      segment_lengths_(std::move(segment_lengths)),
      blind_query_(blind_query),
      device_(device) {
  if (!segment_lengths_.empty()) {
    int64_t sum = 0;
    for (const int64_t length : segment_lengths_) {
      if (length < 1) throw InputError("packed texts: expected at least one token in each, found {}", length);
      segment_start_.insert(segment_start_.end(), static_cast<size_t>(length), sum);
      sum += length;
    }
    if (batch != 1 || past != 0 || attention_mask.defined() || sum != tokens) {
      throw InputError(
          "packed texts: expected one row of {} tokens without mask or past, found {} rows of {} tokens", sum,
          batch, tokens);
    }
    take_groups(groups, batch);
    return;
  }
  take_groups(groups, batch);
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
      first_real_ = real.to(at::kLong).cumsum(1).eq(0).sum(1, /*keepdim=*/true).to(device);
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

// One row at a time on the host: who sees how far decides which keys a block of queries needs.
void AttentionPlan::take_groups(const at::Tensor& groups, int64_t batch) {
  if (!groups.defined()) return;
  if (groups.dim() != 2 || groups.size(0) != batch || groups.size(1) != tokens_ ||
      !at::isIntegralType(groups.scalar_type(), /*includeBool=*/false)) {
    throw InputError(
        "pictures of tokens: expected integers [{}, {}] (rows, tokens), found {} dimensions of {} values",
        batch, tokens_, groups.dim(), groups.numel());
  }
  at::Tensor own = groups.to(at::kCPU, at::kLong).contiguous();
  if (own.lt(0).all().item<bool>()) return;
  if (!segment_start_.empty()) {  // two texts' pictures are two, whatever their numbers
    const at::Tensor text = at::tensor(segment_start_, at::kLong).mul(own.max().item<int64_t>() + 1);
    own = at::where(own.lt(0), own, own.add(text)).contiguous();
  }
  reach_.resize(static_cast<size_t>(tokens_));
  std::iota(reach_.begin(), reach_.end(), 0);
  for (int64_t row = 0; row < batch; ++row) {
    const int64_t* of_token = own.const_data_ptr<int64_t>() + row * tokens_;
    std::unordered_map<int64_t, int64_t> last;
    for (int64_t t = tokens_ - 1; t >= 0; --t) {
      if (of_token[t] < 0) continue;
      const int64_t end = last.emplace(of_token[t], t).first->second;
      reach_[static_cast<size_t>(t)] = std::max(reach_[static_cast<size_t>(t)], end);
    }
  }
  groups_ = at::constant_pad_nd(own, {past_, 0}, -1).to(device_);
}

// The last token of this pass that any of `count` queries sees.
int64_t AttentionPlan::last_seen(int64_t first, int64_t count) const {
  if (reach_.empty()) return first + count - 1;
  const auto begin = reach_.begin() + first;
  return *std::max_element(begin, begin + count);
}

at::Tensor AttentionPlan::attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                 const ScoreRule& rule) const {
  const double scale = rule.scale_of(q.size(3));
  const bool bare = rule.softcap == 0 && !rule.sinks.defined();
  // A token after its past sees all that a window has kept.
  const bool sees_kept = rule.chunk == 0 && (rule.window == 0 || k.size(2) <= rule.window);
  if (tokens_ == 1 && bare && sees_kept && !key_mask_.defined() && segment_lengths_.empty()) {
    return fused_attention(q, k, v, {}, /*is_causal=*/false, scale);
  }
  const bool whole = k.size(2) == past_ + tokens_ && rule.sees_all(past_ + tokens_) && k.size(3) == v.size(3);
  // (a bias has the groups in it)
  const bool in_order = !groups_.defined() || bias_.defined();
  if (!whole || !bare || !in_order) return attend_in_blocks(q, k, v, rule);
  if (some_blind_ && at::GradMode::is_enabled()) return plain_attention(q, k, v, bias_, scale);
  if (segment_lengths_.empty()) {
    return fused_attention(q, k, v, bias_, /*is_causal=*/!bias_.defined() && past_ == 0 && tokens_ > 1,
                           scale);
  }
  std::vector<at::Tensor> parts;
  int64_t first = 0;
  for (const int64_t length : segment_lengths_) {
    const auto part = [&](const at::Tensor& x) { return x.narrow(2, first, length); };
    parts.push_back(fused_attention(part(q), part(k), part(v), {}, /*is_causal=*/length > 1, scale));
    first += length;
  }
  return parts.size() == 1 ? parts[0] : at::cat(parts, 1);
}

// The first key that the query at `query` (of past + T) could see.
int64_t AttentionPlan::first_seen(int64_t query, const ScoreRule& rule) const {
  int64_t first = segment_start_.empty() ? 0 : segment_start_[static_cast<size_t>(query - past_)];
  // Chunks begin earlier in rows with padding, by less than a chunk.
  if (rule.chunk > 0) first = std::max(first, query - rule.chunk + 1);
  if (rule.window > 0) first = std::max(first, query - rule.window + 1);
  return first;
}

at::Tensor AttentionPlan::attend_in_blocks(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                           const ScoreRule& rule) const {
  const double scale = rule.scale_of(q.size(3));
  const int64_t group = q.size(1) / k.size(1), missing = past_ + tokens_ - k.size(2);
  const bool fused = rule.softcap == 0 && !rule.sinks.defined() && !key_mask_.defined();
  const auto longs = at::TensorOptions().dtype(at::kLong).device(device_);
  std::vector<at::Tensor> parts;
  for (int64_t first = 0; first < tokens_;) {
    int64_t count = std::min(kQueriesAtOnce, tokens_ - first);
    if (!segment_start_.empty()) {  // a block stays inside its text
      const int64_t start = segment_start_[static_cast<size_t>(first)];
      while (segment_start_[static_cast<size_t>(first + count - 1)] != start) --count;
    }
    // A blind query takes the mean of all values, so it needs them all.
    const bool all = some_blind_ && blind_query_ == BlindQuery::kMean;
    const int64_t from = all ? missing : std::max(missing, first_seen(past_ + first, rule));
    const int64_t keys = all ? k.size(2) : past_ + last_seen(first, count) + 1 - from;
    const at::Tensor query = at::arange(past_ + first, past_ + first + count, longs);
    const at::Tensor hidden = visible(query, from, keys, rule).logical_not();
    const at::Tensor part_q = q.narrow(2, first, count), part_k = k.narrow(2, from - missing, keys),
                     part_v = v.narrow(2, from - missing, keys);
    if (fused) {
      const at::Tensor bias =
          at::zeros(hidden.sizes(), part_q.options()).masked_fill_(hidden, kNegativeInfinity);
      parts.push_back(fused_attention(part_q, part_k, part_v, bias, /*is_causal=*/false, scale));
    } else {
      const at::Tensor key = part_k.to(at::kFloat).repeat_interleave(group, 1);
      const at::Tensor scores = at::matmul(part_q.to(at::kFloat), key.transpose(2, 3)).mul(scale);
      at::Tensor weights = softmax_rows(capped(scores, rule.softcap), hidden, rule.sinks);
      if (all) {
        const at::Tensor blind = hidden.all(-1, /*keepdim=*/true);
        weights = at::where(blind, 1.0 / static_cast<double>(keys), weights);
      }
      parts.push_back(at::matmul(weights.to(v.scalar_type()), part_v.repeat_interleave(group, 1))
                          .transpose(1, 2)
                          .flatten(2));
    }
    first += count;
  }
  return parts.size() == 1 ? parts[0] : at::cat(parts, 1);
}

// Bool [B or 1, 1, n, keys]: queries by their index among past + T, keys from `first_key` on.
at::Tensor AttentionPlan::visible(const at::Tensor& query_n, int64_t first_key, int64_t keys,
                                  const ScoreRule& rule) const {
  const at::Tensor key = at::arange(first_key, first_key + keys, query_n.options());
  const at::Tensor query = query_n.unsqueeze(1);
  at::Tensor seen = key.le(query);
  if (groups_.defined()) {
    const at::Tensor mine = groups_.index_select(1, query_n).unsqueeze(2);
    const at::Tensor together =
        groups_.narrow(1, first_key, keys).unsqueeze(1).eq(mine).logical_and(mine.ge(0));
    seen = seen.logical_or(together).unsqueeze(1);  // [B, 1, n, keys]
  }
  if (rule.window > 0) seen = seen.logical_and(key.gt(query.sub(rule.window)));
  if (!segment_start_.empty()) {
    const at::Tensor start =
        at::tensor(segment_start_, at::kLong).to(device_).index_select(0, query_n.sub(past_));
    seen = seen.logical_and(key.ge(start.unsqueeze(1)));
    if (rule.chunk > 0) {
      const at::Tensor begin = query.sub(start.unsqueeze(1)).remainder(rule.chunk).neg().add(query);
      seen = seen.logical_and(key.ge(begin));
    }
  }
  if (seen.dim() == 2) seen = seen.unsqueeze(0).unsqueeze(0);
  if (rule.chunk > 0 && segment_start_.empty()) {
    // Chunks are counted from a row's first real token.
    const at::Tensor padding =
        first_real_.defined() ? first_real_.view({-1, 1, 1, 1}) : at::zeros({1, 1, 1, 1}, query_n.options());
    const at::Tensor begin = query.sub(padding).remainder(rule.chunk).neg().add(query);
    seen = seen.logical_and(key.ge(begin));
  }
  if (key_mask_.defined())
    seen = seen.logical_and(key_mask_.narrow(1, first_key, keys).unsqueeze(1).unsqueeze(1));
  return seen;
}

// Bool [B or 1, 1, n, S].
at::Tensor AttentionPlan::visible_rows(const std::vector<int64_t>& query_index) const {
  return visible(at::tensor(query_index, at::kLong).to(device_).add(past_), 0, past_ + tokens_, {});
}

at::Tensor AttentionPlan::rows(const at::Tensor& q, const at::Tensor& k,
                               const std::vector<int64_t>& query_index, const ScoreRule& rule) const {
  const int64_t missing = past_ + tokens_ - k.size(2);
  const at::Tensor query = at::tensor(query_index, at::kLong).to(device_).add(past_);
  const at::Tensor scores = capped(score_rows(q, k, query_index, rule.scale_of(q.size(3))), rule.softcap);
  const at::Tensor rows =
      softmax_rows(scores, visible(query, missing, k.size(2), rule).logical_not(), rule.sinks);
  return missing == 0 ? rows : at::constant_pad_nd(rows, {missing, 0}, 0);
}

}  // namespace ropescope
