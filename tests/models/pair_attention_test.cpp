// Attention over modality pairs against the same formula written out with two full score matrices.
#include "ropescope/models/pair_attention.h"

#include <cmath>
#include <limits>
#include <random>

#include <gtest/gtest.h>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>

#include "ropescope/core/autograd.h"
#include "ropescope/core/errors.h"
#include "ropescope/models/pair_blocks.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

constexpr double kNegativeInfinity = -std::numeric_limits<double>::infinity();

// Runs of alternating modality.
std::vector<uint8_t> layout(const std::vector<int64_t>& lengths, bool starts_visual = false) {
  std::vector<uint8_t> visual;
  uint8_t flag = starts_visual;
  for (const int64_t length : lengths) {
    visual.insert(visual.end(), static_cast<size_t>(length), flag);
    flag = !flag;
  }
  return visual;
}

struct Inputs {
  at::Tensor q_same, q_cross, k, v;
};

Inputs random_inputs(uint64_t seed, int64_t batch, int64_t heads, int64_t kv_heads, int64_t queries,
                     int64_t keys, int64_t dim, at::ScalarType dtype = at::kFloat) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  // Token-major memory, as projections give it.
  const auto make = [&](int64_t tokens, int64_t head_count) {
    return at::randn({batch, tokens, head_count, dim}, generator, at::kDouble).to(dtype).transpose(1, 2);
  };
  return {make(queries, heads), make(queries, heads), make(keys, kv_heads), make(keys, kv_heads)};
}

at::Tensor eager_weights(const Inputs& in, const std::vector<uint8_t>& visual) {
  const int64_t queries = in.q_same.size(2), keys = in.k.size(2), past = keys - queries;
  const at::Tensor k = in.k.repeat_interleave(in.q_same.size(1) / in.k.size(1), 1).transpose(2, 3);
  const at::Tensor flags = at::tensor(at::ArrayRef<uint8_t>(visual), at::kByte).ne(0);
  const at::Tensor same = flags.narrow(0, past, queries).unsqueeze(1).eq(flags.unsqueeze(0));
  const at::Tensor token = at::arange(keys, at::kLong);
  const at::Tensor later = token.unsqueeze(0).gt(token.narrow(0, past, queries).unsqueeze(1));
  return at::where(same, at::matmul(in.q_same, k), at::matmul(in.q_cross, k))
      .div(std::sqrt(static_cast<double>(in.q_same.size(3))))
      .masked_fill(later, kNegativeInfinity)
      .softmax(-1);
}

at::Tensor eager(const Inputs& in, const std::vector<uint8_t>& visual) {
  const at::Tensor v = in.v.repeat_interleave(in.q_same.size(1) / in.v.size(1), 1);
  return at::matmul(eager_weights(in, visual), v).transpose(1, 2).flatten(2);
}

at::Tensor attend(const Inputs& in, const std::vector<uint8_t>& visual) {
  return PairAttentionPlan(visual, in.q_same.size(2), in.q_same.scalar_type(), in.q_same.device())
      .attend(in.q_same, in.q_cross, in.k, in.v);
}

Inputs converted(const Inputs& in, at::ScalarType dtype) {
  return {in.q_same.to(dtype), in.q_cross.to(dtype), in.k.to(dtype), in.v.to(dtype)};
}

struct Case {
  const char* name;
  std::vector<uint8_t> visual;
  int64_t queries;
};

std::vector<Case> cases() {
  std::vector<Case> all = {
      {"image between texts", layout({9, 40, 7}), 56},
      {"one long tile", layout({5, 300, 12}), 317},
      {"long and short images", layout({3, 270, 2, 5, 4, 6, 1, 290, 8, 1}), 590},
      {"visual first, text last", layout({20, 30}, true), 50},
      {"visual first and last", layout({1, 3, 30}, true), 34},
      {"more text than images", layout({280, 3, 300, 2, 2, 9}), 596},
      {"single tokens", layout(std::vector<int64_t>(700, 1)), 700},
      {"text only", layout({40}), 40},
      {"images only", layout({40}, true), 40},
      {"few tokens", layout({3, 4, 2}), 9},
      {"one token", layout({1}), 1},
      {"a step of generation", layout({9, 40, 7}), 1},
      {"a step on an image", layout({9, 40}), 1},
      {"few tokens after a past", layout({9, 40, 7, 3}), 12},
      {"first image after a past of text", layout({30, 40, 7}), 47},
      {"border inside an image", layout({9, 40, 7}), 27},
      {"border inside a text, many runs before", layout({2, 3, 1, 4, 60, 20, 5}), 30},
      {"only text after a past", layout({2, 30, 60}), 40},
      {"only visual tokens after a past", layout({30, 30, 3, 60}), 40},
      {"text only, after a past", layout({60}), 20},
  };
  std::mt19937 random(7);
  for (int i = 0; i < 8; ++i) {
    std::vector<int64_t> runs(1 + random() % 12);
    int64_t total = 0;
    for (int64_t& length : runs) total += length = 1 + random() % (i < 4 ? 12 : 150);
    all.push_back({"random", layout(runs, random() % 2), std::max<int64_t>(1, total - random() % total)});
  }
  return all;
}

TEST(PairAttention, EqualsTheEagerFormula) {
  uint64_t seed = 0;
  for (const Case& one : cases()) {
    for (const int64_t kv_heads : {1, 2, 4}) {
      const auto keys = static_cast<int64_t>(one.visual.size());
      SCOPED_TRACE(::testing::Message() << one.name << ", " << keys << " keys, " << one.queries
                                        << " queries, " << kv_heads << " key/value heads");
      const Inputs in = random_inputs(++seed, 2, 4, kv_heads, one.queries, keys, 8, at::kDouble);
      const at::Tensor expected = eager(in, one.visual);
      EXPECT_TRUE(all_close(attend(in, one.visual), expected, 1e-12));
      EXPECT_TRUE(all_close(attend(converted(in, at::kFloat), one.visual), expected, 3e-6));
    }
  }
}

// Every block's share of the gradients, in float64 to the last digits and in float32.
TEST(PairAttention, GradientsEqualThoseOfTheEagerFormula) {
  uint64_t seed = 100;
  for (const Case& one : cases()) {
    const auto keys = static_cast<int64_t>(one.visual.size());
    SCOPED_TRACE(::testing::Message() << one.name << ", " << keys << " keys, " << one.queries << " queries");
    const Inputs in = random_inputs(++seed, 2, 4, 2, one.queries, keys, 8, at::kDouble);
    const at::Tensor direction =
        at::randn({2, one.queries, 32}, at::detail::createCPUGenerator(seed), at::kDouble);
    const auto gradients = [&](const Inputs& of, const auto& function) {
      std::vector<at::Tensor> leaves;
      for (const at::Tensor& x : {of.q_same, of.q_cross, of.k, of.v}) {
        leaves.push_back(x.detach().requires_grad_(true));
      }
      const at::Tensor out = function({leaves[0], leaves[1], leaves[2], leaves[3]}, one.visual);
      return torch::autograd::grad({out}, leaves, {direction.to(out.scalar_type())}, std::nullopt, false,
                                   /*allow_unused=*/true);
    };
    const auto expected = gradients(in, eager), found = gradients(in, attend);
    const auto in_float = gradients(converted(in, at::kFloat), attend);
    for (size_t i = 0; i < expected.size(); ++i) {
      // One modality does not read the other rotation at all.
      if (!found[i].defined()) {
        EXPECT_EQ(i, 1u);
        EXPECT_EQ(expected[i].abs().max().item<double>(), 0.0);
        continue;
      }
      EXPECT_TRUE(all_close(found[i], expected[i], 1e-12)) << "argument " << i;
      // Sums over hundreds of rows reach 14, where float32 itself resolves 1e-6.
      EXPECT_TRUE(all_close(in_float[i], expected[i], 1e-5, 2e-6)) << "argument " << i;
    }
  }
}

TEST(PairAttention, GradientsEqualFiniteDifferences) {
  const std::vector<uint8_t> visual = layout({3, 9, 2, 6});
  const Inputs in = random_inputs(5, 1, 2, 1, 20, 20, 4, at::kDouble);
  std::vector<at::Tensor> leaves;
  for (const at::Tensor& x : {in.q_same, in.q_cross, in.k, in.v}) {
    leaves.push_back(x.clone().requires_grad_(true));
  }
  const auto loss = [&] { return attend({leaves[0], leaves[1], leaves[2], leaves[3]}, visual).sin().sum(); };
  const auto gradient = torch::autograd::grad({loss()}, leaves);
  const at::NoGradGuard no_grad;
  constexpr double kStep = 1e-5;
  for (size_t i = 0; i < leaves.size(); ++i) {
    const at::Tensor direction = at::randn(leaves[i].sizes(), at::detail::createCPUGenerator(i), at::kDouble);
    leaves[i].add_(direction, kStep);
    const double above = loss().item<double>();
    leaves[i].sub_(direction, 2 * kStep);
    const double below = loss().item<double>();
    leaves[i].add_(direction, kStep);
    EXPECT_NEAR((above - below) / (2 * kStep), gradient[i].mul(direction).sum().item<double>(), 1e-7) << i;
  }
}

// What sum() hands back has strides of zero.
TEST(PairAttention, TakesAnExpandedGradient) {
  const std::vector<uint8_t> visual = layout({3, 9, 2, 6});
  Inputs in = random_inputs(6, 1, 2, 1, 20, 20, 4, at::kDouble);
  in.v.requires_grad_(true);
  const at::Tensor found = torch::autograd::grad({attend(in, visual).sum()}, {in.v})[0];
  EXPECT_TRUE(all_close(found, torch::autograd::grad({eager(in, visual).sum()}, {in.v})[0], 1e-12));
}

TEST(PairAttention, GoldenScoresWeightsAndOutput) {
  const at::NoGradGuard no_grad;
  auto golden = golden_tensors("positions/dipe_attention.safetensors");
  const at::Tensor flags = golden.at("visual").to(at::kByte).contiguous();
  const std::vector<uint8_t> visual(flags.const_data_ptr<uint8_t>(),
                                    flags.const_data_ptr<uint8_t>() + flags.numel());
  const Inputs in = {golden.at("q_dynamic").unsqueeze(0), golden.at("q_anchored").unsqueeze(0),
                     golden.at("k_dynamic").unsqueeze(0), golden.at("v").unsqueeze(0)};
  EXPECT_TRUE(all_close(attend(in, visual), golden.at("output").flatten(1).unsqueeze(0), 1e-5));
  const auto tokens = static_cast<int64_t>(visual.size());
  const PairAttentionPlan plan(visual, tokens, at::kFloat, at::kCPU);
  std::vector<int64_t> all;
  for (int64_t t = 0; t < tokens; ++t) all.push_back(t);
  const at::Tensor rows = plan.rows(in.q_same, in.q_cross, in.k, all);
  EXPECT_TRUE(all_close(rows, golden.at("weights").unsqueeze(0), 1e-5));
  // Scores of a row up to its constant.
  const at::Tensor causal = at::ones_like(rows[0]).tril().to(at::kBool);
  const auto centred = [&](const at::Tensor& scores) { return scores.sub(scores.select(2, 0).unsqueeze(2)); };
  EXPECT_TRUE(all_close(centred(rows[0].log()).masked_select(causal),
                        centred(golden.at("scores")).masked_select(causal), 2e-5));
  // The last query alone, all keys from a cache.
  const auto last = [](const at::Tensor& q) { return q.narrow(2, 23, 1); };
  EXPECT_TRUE(all_close(attend({last(in.q_same), last(in.q_cross), in.k, in.v}, visual),
                        golden.at("output").flatten(1).narrow(0, 23, 1).unsqueeze(0), 1e-5));
}

TEST(PairAttention, RowsTimesValuesAreTheOutput) {
  const at::NoGradGuard no_grad;
  for (const Case& one : cases()) {
    SCOPED_TRACE(one.name);
    const auto keys = static_cast<int64_t>(one.visual.size());
    const Inputs in = random_inputs(9, 2, 4, 2, one.queries, keys, 8);
    const PairAttentionPlan plan(one.visual, one.queries, at::kFloat, at::kCPU);
    const std::vector<int64_t> chosen = {one.queries - 1, one.queries / 2, 0};
    const at::Tensor rows = plan.rows(in.q_same, in.q_cross, in.k, chosen);
    const at::Tensor expected = at::matmul(rows, in.v.repeat_interleave(2, 1)).transpose(1, 2).flatten(2);
    EXPECT_TRUE(
        all_close(attend(in, one.visual).index_select(1, at::tensor(chosen, at::kLong)), expected, 3e-6));
    EXPECT_EQ(rows.select(2, 2).slice(2, keys - one.queries + 1).abs().sum().item<double>(), 0.0);
  }
}

TEST(PairAttention, ACacheChangesNothing) {
  const at::NoGradGuard no_grad;
  const std::vector<uint8_t> visual = layout({9, 70, 5, 50, 11, 3});
  const auto keys = static_cast<int64_t>(visual.size());
  const Inputs in = random_inputs(11, 2, 4, 2, keys, keys, 16);
  const at::Tensor whole = attend(in, visual);
  // Chunks on both sides of the border between few queries and many, cut anywhere.
  int64_t first = 0;
  for (const int64_t count : {20, 40, 1, 1, 16, 17, 30, 2}) {
    const auto queries = [&](const at::Tensor& q) { return q.narrow(2, first, count); };
    const auto seen = [&](const at::Tensor& x) { return x.narrow(2, 0, first + count); };
    const std::vector<uint8_t> flags(visual.begin(), visual.begin() + first + count);
    const at::Tensor part = attend({queries(in.q_same), queries(in.q_cross), seen(in.k), seen(in.v)}, flags);
    EXPECT_TRUE(all_close(part, whole.narrow(1, first, count), 3e-6)) << first << "+" << count;
    first += count;
  }
}

TEST(PairAttention, TextAloneIsPlainCausalAttention) {
  const at::NoGradGuard no_grad;
  const Inputs in = random_inputs(12, 1, 4, 2, 50, 50, 8);
  const at::Tensor expected = at::scaled_dot_product_attention(in.q_same, in.k, in.v, {}, 0.0, true,
                                                               std::nullopt, /*enable_gqa=*/true);
  EXPECT_TRUE(all_close(attend(in, layout({50})), expected.transpose(1, 2).flatten(2), 0));
  // Equal rotations make every layout plain.
  EXPECT_TRUE(all_close(attend({in.q_same, in.q_same, in.k, in.v}, layout({5, 31, 14})),
                        expected.transpose(1, 2).flatten(2), 2e-6));
}

// Parts of a row come rounded to 8 bits and are put together in float32, so that nothing is added to what
// rounding the inputs and the output does by itself.
TEST(PairAttention, Bfloat16) {
  const std::vector<uint8_t> visual = layout({9, 60, 7, 40, 20});
  Inputs in = random_inputs(13, 1, 4, 2, 136, 136, 16, at::kBFloat16);
  const at::Tensor exact = eager(converted(in, at::kDouble), visual);
  EXPECT_TRUE(all_close(attend(in, visual), exact, 0.004, 0.012));
  in.k.requires_grad_(true);
  const at::Tensor wide = in.k.detach().to(at::kDouble).requires_grad_(true);
  const Inputs reference = converted(in, at::kDouble);
  const at::Tensor found = torch::autograd::grad({attend(in, visual).sum()}, {in.k})[0];
  const at::Tensor expected = torch::autograd::grad(
      {eager({reference.q_same, reference.q_cross, wide, reference.v}, visual).sum()}, {wide})[0];
  EXPECT_EQ(found.scalar_type(), at::kBFloat16);
  EXPECT_LT(found.sub(expected).norm().item<double>(), 0.02 * expected.norm().item<double>());
}

// Fused calls cost time each, so their number may grow with the images, not with the tokens.
TEST(PairBlocks, AreFew) {
  const auto blocks = [](const std::vector<uint8_t>& visual) {
    return PairBlocks(visual, static_cast<int64_t>(visual.size()), at::kFloat).blocks.size();
  };
  EXPECT_EQ(blocks(layout({35, 2928, 20})), 4u);
  EXPECT_EQ(blocks(layout({35, 576, 20, 576, 20, 576, 20, 576, 20})), 10u);
  EXPECT_LE(blocks(layout(std::vector<int64_t>(3000, 1))), 4u * 12u);
  // Every pair of tokens is in one block.
  const std::vector<uint8_t> visual = layout({30, 400, 2, 3, 9, 5, 7, 290, 20});
  const PairBlocks plan(visual, static_cast<int64_t>(visual.size()), at::kDouble);
  double pairs = 0;
  for (const PairBlock& block : plan.blocks) {
    const auto area = static_cast<double>(block.queries.length * block.keys.length);
    if (block.bias.defined()) {
      pairs += block.bias.eq(0).sum().item<double>();
    } else {
      pairs += block.is_causal ? (area + static_cast<double>(block.keys.length)) / 2 : area;
    }
  }
  const auto tokens = static_cast<double>(visual.size());
  EXPECT_EQ(pairs, tokens * (tokens + 1) / 2);
}

TEST(PairAttention, ShapesThatDoNotFitAreRefused) {
  EXPECT_THROW(PairAttentionPlan({}, 0, at::kFloat, at::kCPU), InputError);
  EXPECT_THROW(PairAttentionPlan({0, 1}, 3, at::kFloat, at::kCPU), InputError);
  EXPECT_THROW(PairAttentionPlan({0, 1}, 0, at::kFloat, at::kCPU), InputError);
  const PairAttentionPlan plan({0, 1, 0}, 3, at::kFloat, at::kCPU);
  const at::Tensor q = at::randn({1, 4, 3, 8}), k = at::randn({1, 2, 3, 8});
  EXPECT_THROW(plan.attend(q, q, k, at::randn({1, 2, 4, 8})), InputError);
  EXPECT_THROW(plan.attend(q, q.narrow(2, 0, 2), k, k), InputError);
  EXPECT_THROW(plan.attend(q, q, at::randn({1, 3, 3, 8}), k), InputError);
  EXPECT_THROW(plan.attend(q, q, k, k.to(at::kDouble)), InputError);
  EXPECT_THROW(plan.rows(q, q, k, {3}), InputError);
}

}  // namespace
}  // namespace ropescope
