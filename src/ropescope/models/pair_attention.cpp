#include "ropescope/models/pair_attention.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/logaddexp.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "ropescope/core/autograd.h"
#include "ropescope/core/errors.h"
#include "ropescope/models/attention_rows.h"
#include "ropescope/models/kernels/flash_block.h"
#include "ropescope/models/pair_blocks.h"

namespace ropescope {

namespace {

using kernels::FlashBlock;
using kernels::FlashBlockGradients;
using TensorPair = std::array<at::Tensor, 2>;

// Up to so many queries look at all keys at once, with both rotations, hiding what a rotation is not for:
// twice the arithmetic, but a step of generation is bound by reading the cache, and gathering would copy it.
constexpr int64_t kFewQueries = 16;

at::Tensor narrow(const at::Tensor& x, Span span) { return x.narrow(2, span.first, span.length); }

at::Tensor gather(const at::Tensor& x, const std::vector<Span>& runs) {
  if (runs.size() == 1) return narrow(x, runs[0]);
  std::vector<at::Tensor> parts;
  parts.reserve(runs.size());
  for (const Span& run : runs) parts.push_back(narrow(x, run));
  return parts.empty() ? at::Tensor() : at::cat(parts, 2);
}

// Rows of one modality back to where they came from.
void scatter(const at::Tensor& gathered, const std::vector<Span>& runs, const at::Tensor& target) {
  int64_t first = 0;
  for (const Span& run : runs) {
    narrow(target, run).copy_(narrow(gathered, {first, run.length}));
    first += run.length;
  }
}

at::ScalarType merge_type(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

// See flash_block.h. In place.
void merge(const FlashBlock& total, const FlashBlock& part) {
  const at::Tensor share = at::sigmoid(part.lse.sub(total.lse)).unsqueeze(-1);
  total.out.lerp_(part.out.to(total.out.scalar_type()), share);
  total.lse.copy_(at::logaddexp(total.lse, part.lse));
}

FlashBlock narrow(const FlashBlock& rows, Span span) {
  return {narrow(rows.out, span), narrow(rows.lse, span)};
}

// Adds a block's share to a gradient over `length` gathered tokens that may not be there yet.
void add_share(at::Tensor& gradient, const at::Tensor& part, Span span, int64_t length) {
  if (gradient.defined()) {
    narrow(gradient, span).add_(part);
    return;
  }
  if (span.length == length) {
    gradient = part.to(merge_type(part));
    return;
  }
  gradient =
      at::zeros({part.size(0), part.size(1), length, part.size(3)}, part.options().dtype(merge_type(part)));
  narrow(gradient, span).copy_(part);
}

// What the blocks read, by modality.
struct Gathered {
  TensorPair q_same, q_cross, k, v;

  Gathered(const PairBlocks& plan, const at::Tensor& same, const at::Tensor& cross, const at::Tensor& key,
           const at::Tensor& value) {
    for (size_t m : {0, 1}) {
      q_same[m] = gather(same, plan.tokens[m].query_runs);
      q_cross[m] = gather(cross, plan.tokens[m].query_runs);
      k[m] = gather(key, plan.tokens[m].key_runs);
      v[m] = gather(value, plan.tokens[m].key_runs);
    }
  }

  at::Tensor queries(const PairBlock& block) const {
    const bool same = block.query_modality == block.key_modality;
    return narrow((same ? q_same : q_cross)[block.query_modality], block.queries);
  }
};

struct Attended {
  at::Tensor out;  // [B, H, T, D] over [B, T, H, D] memory
  TensorPair lse;  // of the gathered rows; few queries: [0] of all
};

Attended attend_blocks(const PairBlocks& plan, const at::Tensor& q_same, const at::Tensor& q_cross,
                       const at::Tensor& k, const at::Tensor& v) {
  const Gathered in(plan, q_same, q_cross, k, v);
  std::array<FlashBlock, 2> rows;
  for (const PairBlock& block : plan.blocks) {
    const size_t keys = block.key_modality;
    const FlashBlock part = kernels::flash_block(in.queries(block), narrow(in.k[keys], block.keys),
                                                 narrow(in.v[keys], block.keys), block.bias, block.is_causal);
    FlashBlock& total = rows[block.query_modality];
    if (total.out.defined()) {
      merge(narrow(total, block.queries), part);
    } else {
      total = {part.out.to(merge_type(part.out)), part.lse};
    }
  }
  Attended result;
  result.out = at::empty({q_same.size(0), q_same.size(2), q_same.size(1), q_same.size(3)}, q_same.options())
                   .transpose(1, 2);
  for (size_t m : {0, 1}) {
    if (rows[m].out.defined()) scatter(rows[m].out, plan.tokens[m].query_runs, result.out);
    result.lse[m] = rows[m].lse;
  }
  return result;
}

std::array<at::Tensor, 4> differentiate_blocks(const PairBlocks& plan, const at::Tensor& grad_out,
                                               const std::vector<at::Tensor>& saved) {
  const at::Tensor &q_same = saved[0], &k = saved[2];
  const Gathered in(plan, q_same, saved[1], k, saved[3]);
  TensorPair go, out, grad_same, grad_cross, grad_k, grad_v;
  for (size_t m : {0, 1}) {
    go[m] = gather(grad_out, plan.tokens[m].query_runs);
    out[m] = gather(saved[4], plan.tokens[m].query_runs);
  }
  for (const PairBlock& block : plan.blocks) {
    const size_t rows = block.query_modality, keys = block.key_modality;
    const FlashBlockGradients part = kernels::flash_block_backward(
        narrow(go[rows], block.queries), in.queries(block), narrow(in.k[keys], block.keys),
        narrow(in.v[keys], block.keys), narrow(out[rows], block.queries),
        narrow(saved[5 + rows], block.queries), block.bias, block.is_causal);
    add_share((rows == keys ? grad_same : grad_cross)[rows], part.q, block.queries,
              plan.tokens[rows].queries);
    add_share(grad_k[keys], part.k, block.keys, plan.tokens[keys].keys);
    add_share(grad_v[keys], part.v, block.keys, plan.tokens[keys].keys);
  }
  const auto back = [](const TensorPair& gathered, const at::Tensor& like, const std::vector<Span>& text_runs,
                       const std::vector<Span>& visual_runs) {
    const bool whole = gathered[0].defined() && gathered[1].defined();
    const at::Tensor all = whole ? at::empty_like(like) : at::zeros_like(like);
    if (gathered[0].defined()) scatter(gathered[0], text_runs, all);
    if (gathered[1].defined()) scatter(gathered[1], visual_runs, all);
    return all;
  };
  const auto& [text, visual] = plan.tokens;
  return {back(grad_same, q_same, text.query_runs, visual.query_runs),
          back(grad_cross, q_same, text.query_runs, visual.query_runs),
          back(grad_k, k, text.key_runs, visual.key_runs), back(grad_v, k, text.key_runs, visual.key_runs)};
}

at::Tensor twice(const at::Tensor& x) { return at::cat({x, x}, 2); }

Attended attend_few(const at::Tensor& bias, const at::Tensor& q_same, const at::Tensor& q_cross,
                    const at::Tensor& k, const at::Tensor& v) {
  const int64_t tokens = q_same.size(2);
  const FlashBlock both = kernels::flash_block(at::cat({q_same, q_cross}, 2), k, v, bias, false);
  const FlashBlock rows = narrow({both.out.to(merge_type(both.out)), both.lse}, {0, tokens});
  merge(rows, narrow(both, {tokens, tokens}));
  return {rows.out.to(q_same.scalar_type()), {rows.lse, at::Tensor()}};
}

std::array<at::Tensor, 4> differentiate_few(const at::Tensor& bias, const at::Tensor& grad_out,
                                            const std::vector<at::Tensor>& saved) {
  const int64_t tokens = grad_out.size(2);
  const FlashBlockGradients both =
      kernels::flash_block_backward(twice(grad_out), at::cat({saved[0], saved[1]}, 2), saved[2], saved[3],
                                    twice(saved[4]), twice(saved[5]), bias, false);
  return {narrow(both.q, {0, tokens}), narrow(both.q, {tokens, tokens}), both.k, both.v};
}

Attended attend_pairs(const at::Tensor& q_same, const at::Tensor& q_cross, const at::Tensor& k,
                      const at::Tensor& v, const at::Tensor& bias,
                      const std::shared_ptr<const PairBlocks>& blocks) {
  return blocks ? attend_blocks(*blocks, q_same, q_cross, k, v) : attend_few(bias, q_same, q_cross, k, v);
}

// Carries the plan to the backward pass, which may outlive the caller's.
struct BlocksHolder : torch::CustomClassHolder {
  std::shared_ptr<const PairBlocks> blocks;
};

class PairAttention : public torch::autograd::Function<PairAttention> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& q_same,
                            const at::Tensor& q_cross, const at::Tensor& k, const at::Tensor& v,
                            const std::optional<at::Tensor>& bias,
                            const std::shared_ptr<const PairBlocks>& blocks) {
    const Attended result = attend_pairs(q_same, q_cross, k, v, bias.value_or(at::Tensor()), blocks);
    context->save_for_backward(
        {q_same, q_cross, k, v, result.out, result.lse[0], result.lse[1], bias.value_or(at::Tensor())});
    auto holder = c10::make_intrusive<BlocksHolder>();
    holder->blocks = blocks;
    context->saved_data["blocks"] = c10::IValue::make_capsule(std::move(holder));
    return result.out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list grad_out) {
    const std::vector<at::Tensor> saved = context->get_saved_variables();
    const auto holder =
        c10::static_intrusive_pointer_cast<BlocksHolder>(context->saved_data.at("blocks").toCapsule());
    const auto found = holder->blocks ? differentiate_blocks(*holder->blocks, grad_out[0], saved)
                                      : differentiate_few(saved[7], grad_out[0], saved);
    return {found[0], found[1], found[2], found[3], at::Tensor(), at::Tensor()};
  }
};

void check_shape(const char* name, const at::Tensor& x, const at::Tensor& q, int64_t heads, int64_t tokens) {
  if (x.dim() == 4 && x.size(0) == q.size(0) && x.size(1) == heads && x.size(2) == tokens &&
      x.size(3) == q.size(3) && x.scalar_type() == q.scalar_type()) {
    return;
  }
  throw InputError(
      "attention over modality pairs: expected {} of shape [{}, {}, {}, {}], in one type with "
      "the queries; found {} dimensions of {} values",
      name, q.size(0), heads, tokens, q.size(3), x.dim(), x.numel());
}

}  // namespace

PairAttentionPlan::PairAttentionPlan(std::vector<uint8_t> visual, int64_t tokens, at::ScalarType dtype,
                                     at::Device device)
    : tokens_(tokens), past_(static_cast<int64_t>(visual.size()) - tokens) {
  if (tokens < 1 || past_ < 0) {
    throw InputError("attention over modality pairs: expected 1 to {} queries for {} keys, found {}",
                     visual.size(), visual.size(), tokens);
  }
  for (uint8_t& flag : visual) flag = flag != 0;
  visual_ = at::tensor(at::ArrayRef<uint8_t>(visual), at::kByte).to(at::kBool).to(device);
  const auto options = at::TensorOptions().dtype(dtype).device(device);
  const bool one_modality =
      std::all_of(visual.begin(), visual.end(), [&](uint8_t flag) { return flag == visual[0]; });
  if (one_modality) {
    plain_.emplace(/*batch=*/1, tokens, past_, at::Tensor(), std::vector<int64_t>(), dtype, device);
  } else if (tokens <= kFewQueries) {
    std::vector<int64_t> all(static_cast<size_t>(tokens));
    std::iota(all.begin(), all.end(), 0);
    const at::Tensor later = hidden_rows(all), cross = crossing_rows(all);
    bias_ = at::zeros({2 * tokens, visual_.size(0)}, options)
                .masked_fill_(at::cat({later.logical_or(cross), later.logical_or(cross.logical_not())}),
                              kernels::hidden_score(dtype));
  } else {
    blocks_ = std::make_shared<const PairBlocks>(visual, tokens, options);
  }
}

// Bool [n, S]: later keys.
at::Tensor PairAttentionPlan::hidden_rows(const std::vector<int64_t>& query_index) const {
  const at::Tensor query = at::tensor(query_index, at::kLong).to(visual_.device()).add(past_).unsqueeze(1);
  return at::arange(visual_.size(0), query.options()).unsqueeze(0).gt(query);
}

// Bool [n, S]: keys of the other modality.
at::Tensor PairAttentionPlan::crossing_rows(const std::vector<int64_t>& query_index) const {
  const at::Tensor query = at::tensor(query_index, at::kLong).to(visual_.device()).add(past_);
  return visual_.unsqueeze(0).ne(visual_.index_select(0, query).unsqueeze(1));
}

at::Tensor PairAttentionPlan::attend(const at::Tensor& q_same, const at::Tensor& q_cross, const at::Tensor& k,
                                     const at::Tensor& v) const {
  check(q_same, q_cross, k);
  check_shape("values", v, q_same, k.size(1), past_ + tokens_);
  if (plain_) return plain_->attend(q_same, k, v);
  const bool differentiable =
      at::GradMode::is_enabled() &&
      (q_same.requires_grad() || q_cross.requires_grad() || k.requires_grad() || v.requires_grad());
  const at::Tensor out = differentiable
                             ? PairAttention::apply(q_same, q_cross, k, v,
                                                    blocks_ ? std::nullopt : std::optional(bias_), blocks_)
                             : attend_pairs(q_same, q_cross, k, v, bias_, blocks_).out;
  return out.transpose(1, 2).flatten(2);
}

at::Tensor PairAttentionPlan::rows(const at::Tensor& q_same, const at::Tensor& q_cross, const at::Tensor& k,
                                   const std::vector<int64_t>& query_index) const {
  check(q_same, q_cross, k);
  const at::Tensor same = score_rows(q_same, k, query_index);
  if (plain_) return softmax_of_visible(same, hidden_rows(query_index));
  const at::Tensor scores = at::where(crossing_rows(query_index), score_rows(q_cross, k, query_index), same);
  return softmax_of_visible(scores, hidden_rows(query_index));
}

void PairAttentionPlan::check(const at::Tensor& q_same, const at::Tensor& q_cross,
                              const at::Tensor& k) const {
  if (q_same.dim() != 4 || k.dim() != 4 || k.size(1) < 1 || q_same.size(1) % k.size(1) != 0) {
    throw InputError(
        "attention over modality pairs: expected queries and keys of 4 dimensions, with a multiple of the "
        "keys' heads; found {} and {} dimensions",
        q_same.dim(), k.dim());
  }
  check_shape("queries", q_same, q_same, q_same.size(1), tokens_);
  check_shape("queries for the other modality", q_cross, q_same, q_same.size(1), tokens_);
  check_shape("keys", k, q_same, k.size(1), past_ + tokens_);
}

}  // namespace ropescope
