// Attention under every registered scheme against the same formula written out over all pairs.
#include "ropescope/models/pass_attention.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/where.h>

#include "ropescope/core/autograd.h"
#include "ropescope/core/errors.h"

#include "tests/support/golden.h"
#include "tests/support/schemes.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

constexpr int64_t kHeads = 6, kKvHeads = 3, kDim = 32, kLayers = 5;

EncodedModel sizes() { return {RopeConfig{}, kDim, kHeads, kKvHeads, kLayers, 4096}; }

at::Tensor random(std::vector<int64_t> shape, uint64_t seed) {
  return at::randn(shape, at::detail::createCPUGenerator(seed), at::TensorOptions(at::kDouble))
      .to(at::kFloat);
}

struct Heads {
  at::Tensor q, k, v;
};

Heads random_heads(int64_t tokens) {
  return {random({1, kHeads, tokens, kDim}, 1), random({1, kKvHeads, tokens, kDim}, 2),
          random({1, kKvHeads, tokens, kDim}, 3)};
}

// Float64 softmax [heads, T, T] straight from the definitions.
at::Tensor written_out(const Scheme& scheme, const Layout& layout, int64_t layer, const Heads& x,
                       const PassEncoding& encoding) {
  const Positions positions = scheme.positions(layout, layer);
  const auto expand = [](const at::Tensor& t) {
    return t.repeat_interleave(kHeads / kKvHeads, 1)[0].to(at::kDouble);
  };
  const at::Tensor k = expand(apply_rotary(x.k, encoding.table(layer)));
  const auto scores_of = [&](const RotaryTable& table) {
    return at::matmul(apply_rotary(x.q, table)[0].to(at::kDouble), k.transpose(1, 2))
        .div(std::sqrt(double{kDim}));
  };
  at::Tensor scores = scores_of(encoding.table(layer));
  if (scheme.anchored()) {
    const at::Tensor visual = positions.modality.ne(0);
    const at::Tensor same = visual.unsqueeze(0).eq(visual.unsqueeze(1));
    scores = at::where(same, scores, scores_of(encoding.anchored_table(layer)));
  }
  if (const at::Tensor bias = bias_of_pairs(scheme, positions, kHeads); bias.defined()) {
    scores = scores.add(bias);
  }
  return scores
      .masked_fill(allowed_pairs(scheme, positions).logical_not(), -std::numeric_limits<double>::infinity())
      .softmax(-1);
}

class PassAttentionOf : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Schemes, PassAttentionOf, ::testing::ValuesIn(all_schemes()),
                         [](const auto& entry) { return test_name(entry.param); });

TEST_P(PassAttentionOf, EqualsTheFormulaOnEveryLayerInOutputRowsAndGradients) {
  const Scheme scheme(GetParam());
  const Layout layout = parse_layout(tiles_for(GetParam(), "text:4,anyres:3x4+5x6,text:3,image:4x5,text:5"));
  const int64_t tokens = layout.tokens();
  const PassEncoding encoding = SequenceEncoding(scheme, layout, sizes()).pass(0, tokens);
  Heads x = random_heads(tokens);
  for (at::Tensor* t : {&x.q, &x.k, &x.v}) t->requires_grad_(true);
  for (const int64_t layer : {int64_t{0}, int64_t{3}}) {
    SCOPED_TRACE(layer);
    const PassAttention attention(encoding, AttentionPlan(1, tokens, 0, {}, {}, at::kFloat, at::kCPU), tokens,
                                  at::kFloat, at::kCPU);
    const at::Tensor q = apply_rotary(x.q, encoding.table(layer)),
                     k = apply_rotary(x.k, encoding.table(layer));
    at::Tensor q_cross;
    if (scheme.anchored()) q_cross = apply_rotary(x.q, encoding.anchored.front());
    const at::Tensor expected = written_out(scheme, layout, layer, x, encoding);
    std::vector<int64_t> queries = {0, 5, 17, 40, tokens - 1};
    const at::Tensor rows = attention.rows(layer, q, q_cross, k, queries, {});
    for (size_t i = 0; i < queries.size(); ++i) {
      EXPECT_TRUE(
          all_close(rows[0].select(1, static_cast<int64_t>(i)), expected.select(1, queries[i]), 1e-6));
    }
    const at::Tensor v = x.v.repeat_interleave(kHeads / kKvHeads, 1)[0].to(at::kDouble);
    const at::Tensor whole = at::matmul(expected, v).transpose(0, 1).flatten(1).unsqueeze(0);
    const at::Tensor output = attention.attend(layer, q, q_cross, k, x.v, {});
    EXPECT_TRUE(all_close(output, whole, 1e-5));
    const at::Tensor weight = random({1, tokens, kHeads * kDim}, 4);
    const auto actual = torch::autograd::grad({output.mul(weight).sum()}, {x.q, x.k, x.v});
    const auto wanted = torch::autograd::grad({whole.mul(weight).sum()}, {x.q, x.k, x.v});
    for (size_t i = 0; i < 3; ++i)
      EXPECT_TRUE(all_close(actual[i], wanted[i], 2e-5)) << "q, k, v number " << i;
  }
}

TEST(SequenceEncodings, RulesThatExcludeEachOtherAreRefused) {
  const Layout layout = parse_layout("text:2,image:2x2");
  for (const char* text : {"dipe+cca", "alibi+dipe", "dipe+pype:interval=2"}) {
    EXPECT_THROW(SequenceEncoding(Scheme(text), layout, sizes()), UsageError) << text;
  }
  EXPECT_THROW(SequenceEncoding(Scheme("mrope:sections=1/2/3"), layout, sizes()), UsageError);
  EXPECT_THROW(SequenceEncoding(Scheme("mhrope:sections=1/1/2"), layout, sizes()), UsageError);
  EXPECT_THROW(SequenceEncoding(Scheme("alibi:heads=4"), layout, sizes()), UsageError);
}

TEST(SequenceEncodings, APassDoesNotCutARasterWhoseTokensSeeEachOther) {
  const SequenceEncoding encoding(Scheme("cca"), parse_layout("text:2,image:4x4,text:2"), sizes());
  EXPECT_THROW(encoding.pass(0, 5), InputError);
  EXPECT_THROW(encoding.pass(5, 15), InputError);
  EXPECT_NO_THROW(encoding.pass(0, 18));
  EXPECT_NO_THROW(encoding.pass(18, 4));
}

}  // namespace
}  // namespace ropescope
