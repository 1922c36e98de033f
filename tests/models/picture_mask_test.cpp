// Tokens of one picture see each other: the plan against a plain loop over pairs, for windows, padding, packed texts,
// past tokens, long passes and rows.
#include <gtest/gtest.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"
#include "ropescope/models/attention.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using testing::all_close;

constexpr int64_t kMaskHeads = 4, kMaskKeyHeads = 2, kMaskDim = 8;

struct MaskCase {
  int64_t batch = 1, tokens = 0, past = 0;
  at::Tensor groups, mask;
  std::vector<int64_t> segments;
  ScoreRule rule;
};

/// Who sees whom, [B, T, past + T], pair by pair.
at::Tensor seen_pairs(const MaskCase& one) {
  const int64_t keys = one.past + one.tokens;
  at::Tensor seen = at::zeros({one.batch, one.tokens, keys}, at::kBool);
  auto access = seen.accessor<bool, 3>();
  const at::Tensor numbers =
      one.groups.defined() ? one.groups.to(at::kLong) : at::full({one.batch, one.tokens}, -1, at::kLong);
  const at::Tensor real = one.mask.defined() ? one.mask : at::ones({one.batch, keys}, at::kLong);
  const auto picture = numbers.accessor<int64_t, 2>(), is_real = real.accessor<int64_t, 2>();
  std::vector<int64_t> text(static_cast<size_t>(one.tokens), 0);
  for (size_t s = 0, at = 0; s < one.segments.size(); ++s) {
    for (int64_t i = 0; i < one.segments[s]; ++i) text[at++] = static_cast<int64_t>(s);
  }
  for (int64_t b = 0; b < one.batch; ++b) {
    for (int64_t q = 0; q < one.tokens; ++q) {
      for (int64_t k = 0; k < keys; ++k) {
        const int64_t query = one.past + q, own = k - one.past;
        bool sees = k <= query;
        if (own >= 0) sees = sees || (picture[b][q] >= 0 && picture[b][own] == picture[b][q]);
        if (one.rule.window > 0) sees = sees && k > query - one.rule.window;
        if (!one.segments.empty())
          sees = sees && text[static_cast<size_t>(q)] == text[static_cast<size_t>(own)];
        access[b][q][k] = sees && is_real[b][k] != 0;
      }
    }
  }
  return seen;
}

void expect_as_by_pairs(const MaskCase& one, bool with_gradients = false) {
  const at::AutoGradMode mode(with_gradients);
  const int64_t keys = one.past + one.tokens;
  at::Tensor q = at::randn({one.batch, kMaskHeads, one.tokens, kMaskDim});
  const at::Tensor k = at::randn({one.batch, kMaskKeyHeads, keys, kMaskDim});
  const at::Tensor v = at::randn({one.batch, kMaskKeyHeads, keys, kMaskDim});
  if (with_gradients) q.set_requires_grad(true);
  const at::Tensor seen = seen_pairs(one).unsqueeze(1);
  const at::Tensor scores =
      at::matmul(q, k.repeat_interleave(2, 1).transpose(2, 3)).mul(one.rule.scale_of(kMaskDim));
  at::Tensor weights = scores.masked_fill(seen.logical_not(), -1e30).softmax(-1).mul(seen);
  const at::Tensor expected = at::matmul(weights, v.repeat_interleave(2, 1)).transpose(1, 2).flatten(2);
  const AttentionPlan plan(one.batch, one.tokens, one.past, one.mask, one.segments, at::kFloat, at::kCPU,
                           BlindQuery::kZero, one.groups);
  // As a cache would have it: keys out of every window are gone.
  int64_t gone = 0;
  if (one.rule.window > 0) gone = std::max<int64_t>(0, one.past - one.rule.window + 1);
  const auto kept = [&](const at::Tensor& x) { return x.narrow(2, gone, keys - gone); };
  const at::Tensor found = plan.attend(q, kept(k), kept(v), one.rule);
  const at::Tensor real = one.mask.defined() ? one.mask.narrow(1, one.past, one.tokens).ne(0)
                                             : at::ones({one.batch, one.tokens}, at::kBool);
  EXPECT_TRUE(all_close(found.mul(real.unsqueeze(2)), expected.mul(real.unsqueeze(2)), 1e-5));
  std::vector<int64_t> some = {0, one.tokens / 2, one.tokens - 1};
  const at::Tensor rows = plan.rows(q, kept(k), some, one.rule);
  EXPECT_TRUE(all_close(rows, weights.index_select(2, at::tensor(some, at::kLong)), 1e-5));
  if (!with_gradients) return;
  const at::Tensor outer = at::randn(found.sizes());
  found.mul(outer).sum().backward();
  const at::Tensor gradient = q.grad().clone();
  q.mutable_grad().zero_();
  expected.mul(outer).sum().backward();
  EXPECT_TRUE(all_close(gradient, q.grad(), 1e-5));
}

/// [B, T]: pictures of `length` tokens every `period`, from a place of each row's own.
at::Tensor pictures(int64_t batch, int64_t tokens, int64_t period, int64_t length) {
  at::Tensor groups = at::full({batch, tokens}, -1, at::kInt);
  auto access = groups.accessor<int32_t, 2>();
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t t = 0; t < tokens; ++t) {
      const int64_t place = t + 3 * b;
      if (place % period < length) access[b][t] = static_cast<int32_t>(place / period);
    }
  }
  return groups;
}

TEST(PictureMask, FullLayersAndWindowsInAllPlaces) {
  for (const int64_t window : {0, 1, 5, 12}) {
    for (const int64_t batch : {1, 3}) {
      for (const int64_t past : {0, 7}) {
        for (const bool padded : {false, true}) {
          SCOPED_TRACE(fmt::format("window {} rows {} past {} padded {}", window, batch, past, padded));
          MaskCase one;
          one.batch = batch, one.tokens = 41, one.past = past;
          one.groups = pictures(batch, 41, 20, 14);
          one.rule.window = window;
          if (padded) {
            one.mask = at::ones({batch, past + 41}, at::kLong);
            one.mask[batch - 1].narrow(0, 0, 4).fill_(0);
            if (past == 0) one.groups[batch - 1].narrow(0, 0, 4).fill_(-1);
          }
          expect_as_by_pairs(one);
          expect_as_by_pairs(one, /*with_gradients=*/true);
        }
      }
    }
  }
}

TEST(PictureMask, PicturesLongerThanABlockOfQueries) {
  MaskCase one;
  one.tokens = 700;
  one.groups = at::full({1, 700}, -1, at::kInt);
  one.groups.narrow(1, 100, 420).fill_(3);
  one.groups.narrow(1, 650, 20).fill_(4);
  expect_as_by_pairs(one);
  one.rule.window = 150;
  expect_as_by_pairs(one);
  one.rule.softcap = 0;
  one.rule.scale = 0.7;
  expect_as_by_pairs(one);
}

TEST(PictureMask, PackedTextsDoNotShareAPicture) {
  MaskCase one;
  one.tokens = 40;
  one.segments = {13, 20, 7};
  one.groups = at::full({1, 40}, -1, at::kInt);
  one.groups.narrow(1, 5, 20).fill_(0);  // the same number on both sides of a border
  one.groups.narrow(1, 34, 3).fill_(1);
  expect_as_by_pairs(one);
  one.rule.window = 6;
  expect_as_by_pairs(one);
}

TEST(PictureMask, TextAloneGoesItsOldWay) {
  const at::Tensor q = at::randn({2, kMaskHeads, 30, kMaskDim}),
                   k = at::randn({2, kMaskKeyHeads, 30, kMaskDim});
  const AttentionPlan plain(2, 30, 0, {}, {}, at::kFloat, at::kCPU);
  const AttentionPlan with(2, 30, 0, {}, {}, at::kFloat, at::kCPU, BlindQuery::kZero,
                           at::full({2, 30}, -1, at::kInt));
  EXPECT_TRUE(at::equal(plain.attend(q, k, k), with.attend(q, k, k)));
}

TEST(PictureMask, ShapesHaveToFit) {
  const auto make = [](const at::Tensor& groups) {
    return AttentionPlan(2, 5, 0, {}, {}, at::kFloat, at::kCPU, BlindQuery::kZero, groups);
  };
  EXPECT_THROW(make(at::zeros({2, 4}, at::kInt)), InputError);
  EXPECT_THROW(make(at::zeros({5}, at::kInt)), InputError);
  EXPECT_THROW(make(at::zeros({2, 5})), InputError);
}

}  // namespace
}  // namespace ropescope
