// The gated delta rule: golden data of Qwen3.5 (tests/golden/architectures), and the chunked form against the
// recurrence written out token by token.
#include "ropescope/models/blocks/delta_rule.h"

#include <gtest/gtest.h>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/einsum.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/autograd.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/models/kernels/rms_norm.h"

#include "tests/support/finite_differences.h"
#include "tests/support/golden.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

const std::string kDeltaFolder = "architectures/qwen3_5_text/";
constexpr DeltaShape kDeltaShape{
    .key_heads = 2, .value_heads = 4, .key_dim = 8, .value_dim = 10, .kernel = 4};
constexpr double kDeltaEps = 1e-6;

at::Tensor delta_numbers(at::IntArrayRef shape, uint64_t seed, at::ScalarType type = at::kFloat) {
  return at::randn(shape, at::detail::createCPUGenerator(seed), type);
}

struct ScanInput {
  at::Tensor q, k, v, log_decay, beta, state;

  ScanInput to(at::ScalarType type) const {
    return {q.to(type), k.to(type), v.to(type), log_decay.to(type), beta.to(type), state.to(type)};
  }
  DeltaScan scan() const { return scan_delta_rule(q, k, v, log_decay, beta, state); }
};

ScanInput random_scan(int64_t tokens, double decay, at::ScalarType type) {
  const int64_t batch = 2, heads = 3, key_dim = 8, value_dim = 5;
  const auto unit = [](const at::Tensor& x) { return x / x.square().sum(-1, true).sqrt(); };
  return {unit(delta_numbers({batch, heads, tokens, key_dim}, 1, type)) / 3,
          unit(delta_numbers({batch, heads, tokens, key_dim}, 2, type)),
          delta_numbers({batch, heads, tokens, value_dim}, 3, type),
          delta_numbers({batch, heads, tokens}, 4, type).abs() * -decay,
          delta_numbers({batch, heads, tokens}, 5, type).sigmoid(),
          delta_numbers({batch, heads, key_dim, value_dim}, 6, type)};
}

// The formula, one token after the other.
DeltaScan delta_recurrence(const ScanInput& in) {
  at::Tensor state = in.state;
  std::vector<at::Tensor> outputs;
  for (int64_t t = 0; t < in.q.size(2); ++t) {
    const auto at_t = [t](const at::Tensor& x) { return x.select(2, t); };
    state = state * at_t(in.log_decay).exp().unsqueeze(-1).unsqueeze(-1);
    const at::Tensor found = at::einsum("bhkv,bhk->bhv", {state, at_t(in.k)});
    const at::Tensor correction = (at_t(in.v) - found) * at_t(in.beta).unsqueeze(-1);
    state = state + at::einsum("bhk,bhv->bhkv", {at_t(in.k), correction});
    outputs.push_back(at::einsum("bhkv,bhk->bhv", {state, at_t(in.q)}));
  }
  return {at::stack(outputs, 2), state};
}

TEST(DeltaScan, ChunksGiveWhatTheRecurrenceGives) {
  for (const int64_t tokens : {1, 2, 63, 64, 65, 150}) {
    for (const double decay : {0.1, 3.0}) {
      SCOPED_TRACE(fmt::format("{} tokens, decay {}", tokens, decay));
      const ScanInput exact = random_scan(tokens, decay, at::kDouble);
      const DeltaScan expected = delta_recurrence(exact), wide = exact.scan(),
                      narrow = exact.to(at::kFloat).scan();
      EXPECT_TRUE(all_close(wide.out, expected.out, 1e-12));
      EXPECT_TRUE(all_close(wide.state, expected.state, 1e-12));
      EXPECT_TRUE(all_close(narrow.out, expected.out, 1e-5));
      EXPECT_TRUE(all_close(narrow.state, expected.state, 1e-5, 1e-5));
      EXPECT_EQ(narrow.state.scalar_type(), at::kFloat);
    }
  }
}

TEST(DeltaScan, StateGoesOnFromAnyPlace) {
  const ScanInput all = random_scan(150, 0.2, at::kDouble);
  const DeltaScan whole = all.scan();
  ScanInput part = all;
  std::vector<at::Tensor> outputs;
  for (int64_t first = 0, count = 1; first < 150;
       first += count, count = std::min(150 - first, 2 * count + 1)) {
    const auto cut = [&](const at::Tensor& x) { return x.narrow(2, first, count); };
    const DeltaScan scan =
        scan_delta_rule(cut(all.q), cut(all.k), cut(all.v), cut(all.log_decay), cut(all.beta), part.state);
    outputs.push_back(scan.out);
    part.state = scan.state;
  }
  EXPECT_TRUE(all_close(at::cat(outputs, 2), whole.out, 1e-12));
  EXPECT_TRUE(all_close(part.state, whole.state, 1e-12));
}

TEST(DeltaScan, NoStateIsOneOfZeros) {
  ScanInput in = random_scan(70, 0.2, at::kFloat);
  in.state = at::zeros_like(in.state);
  const DeltaScan zeros = in.scan();
  in.state = at::Tensor();
  EXPECT_TRUE(at::equal(in.scan().out, zeros.out));
}

// e^g may underflow, and its inverse overflow: a chunk must never form the inverse.
TEST(DeltaScan, DecayThatForgetsEverythingStaysFinite) {
  for (const double decay : {100.0, 1e5}) {
    ScanInput in = random_scan(80, decay, at::kFloat);
    const DeltaScan expected = delta_recurrence(in);
    in.log_decay.requires_grad_(true), in.k.requires_grad_(true);
    const DeltaScan scan = in.scan();
    EXPECT_TRUE(all_close(scan.out, expected.out, 1e-5));
    for (const at::Tensor& gradient : torch::autograd::grad({scan.out.sum()}, {in.log_decay, in.k})) {
      EXPECT_TRUE(at::isfinite(gradient).all().item<bool>());
    }
  }
}

TEST(DeltaScan, GradientsAreThoseOfFiniteDifferences) {
  ScanInput in = random_scan(67, 0.3, at::kDouble);
  const at::Tensor of_out = delta_numbers({2, 3, 67, 5}, 7, at::kDouble),
                   of_state = delta_numbers({2, 3, 8, 5}, 8, at::kDouble);
  const std::vector<at::Tensor> leaves = {in.q, in.k, in.v, in.log_decay, in.beta, in.state};
  for (const at::Tensor& leaf : leaves) leaf.requires_grad_(true);
  const auto loss = [&] {
    const DeltaScan scan = in.scan();
    return (scan.out * of_out).sum() + (scan.state * of_state).sum();
  };
  expect_finite_differences(loss, leaves, 1e-6);
}

DeltaWeights random_delta(at::ScalarType type) {
  const auto small = [&](at::IntArrayRef shape, uint64_t seed) {
    return delta_numbers(shape, seed, type) * 0.3;
  };
  return {small({72, 12}, 1), small({40, 12}, 2), small({4, 12}, 3), small({4, 12}, 4), small({72, 1, 4}, 5),
          small({4}, 6),      small({4}, 7),      small({10}, 8),    small({12, 40}, 9)};
}

TEST(DeltaRule, AStateContinuesTheWholePass) {
  const DeltaWeights weights = random_delta(at::kFloat);
  const at::Tensor x = delta_numbers({2, 75, 12}, 10);
  const DeltaOutput whole = delta_rule(x, weights, kDeltaShape, kDeltaEps);
  EXPECT_EQ(whole.state.conv.sizes(), at::IntArrayRef({2, 72, 3}));
  EXPECT_EQ(whole.state.recurrent.sizes(), at::IntArrayRef({2, 4, 8, 10}));
  // 70 tokens at once, then one at a time; and pieces shorter than the convolution from the start.
  for (const std::vector<int64_t>& pieces :
       {std::vector<int64_t>{70, 1, 1, 1, 1, 1}, std::vector<int64_t>{1, 1, 2, 1, 70}}) {
    DeltaState state;
    std::vector<at::Tensor> outputs;
    int64_t first = 0;
    for (const int64_t count : pieces) {
      const DeltaState before = state;
      const at::Tensor kept = before.conv.defined() ? before.conv.clone() : at::Tensor();
      const DeltaOutput piece = delta_rule(x.narrow(1, first, count), weights, kDeltaShape, kDeltaEps, state);
      EXPECT_TRUE(!kept.defined() || at::equal(before.conv, kept));
      outputs.push_back(piece.out);
      state = piece.state;
      first += count;
    }
    EXPECT_TRUE(all_close(at::cat(outputs, 1), whole.out, 1e-5));
    EXPECT_TRUE(all_close(state.recurrent, whole.state.recurrent, 1e-5));
    EXPECT_TRUE(all_close(state.conv, whole.state.conv, 1e-6));
  }
}

TEST(DeltaRule, GradientsAreThoseOfFiniteDifferences) {
  const DeltaWeights w = random_delta(at::kDouble);
  const at::Tensor x = delta_numbers({2, 6, 12}, 11, at::kDouble),
                   of_out = delta_numbers({2, 6, 12}, 12, at::kDouble);
  const std::vector<at::Tensor> leaves = {x,       w.input, w.gate, w.step, w.beta,
                                          w.decay, w.bias,  w.norm, w.out,  w.kernel};
  for (const at::Tensor& leaf : leaves) leaf.requires_grad_(true);
  // Keys are short before they get their unit length, which bends much within a step.
  expect_finite_differences([&] { return (delta_rule(x, w, kDeltaShape, kDeltaEps).out * of_out).sum(); },
                            leaves, 2e-5);
}

TEST(DeltaRule, HalfPrecisionKeepsAFloatState) {
  DeltaWeights weights = random_delta(at::kFloat);
  const at::Tensor x = delta_numbers({1, 20, 12}, 13);
  const DeltaOutput wide = delta_rule(x, weights, kDeltaShape, kDeltaEps);
  for (at::Tensor* weight : {&weights.input, &weights.gate, &weights.step, &weights.beta, &weights.kernel,
                             &weights.decay, &weights.bias, &weights.norm, &weights.out}) {
    *weight = weight->to(at::kBFloat16);
  }
  const DeltaOutput narrow = delta_rule(x.to(at::kBFloat16), weights, kDeltaShape, kDeltaEps);
  EXPECT_EQ(narrow.out.scalar_type(), at::kBFloat16);
  EXPECT_EQ(narrow.state.recurrent.scalar_type(), at::kFloat);
  EXPECT_TRUE(all_close(narrow.out, wide.out, 0.05));
}

TEST(DeltaRule, GoldenOutputsOfEveryLayer) {
  const auto model = golden_tensors(kDeltaFolder + "model.safetensors");
  const auto golden = golden_tensors(kDeltaFolder + "expected.safetensors");
  for (int64_t layer = 0; layer < 3; ++layer) {
    SCOPED_TRACE(layer);
    const std::string n = std::to_string(layer), prefix = "model.layers." + n + ".linear_attn.";
    const auto take = [&](const std::string& name) { return model.at(prefix + name); };
    const DeltaWeights weights = {take("in_proj_qkv.weight"),
                                  take("in_proj_z.weight"),
                                  take("in_proj_a.weight"),
                                  take("in_proj_b.weight"),
                                  take("conv1d.weight"),
                                  take("A_log"),
                                  take("dt_bias"),
                                  take("norm.weight"),
                                  take("out_proj.weight")};
    const at::Tensor norm = model.at("model.layers." + n + ".input_layernorm.weight") + 1;
    const at::Tensor x = kernels::rms_norm(golden.at("hidden." + n).unsqueeze(0), norm, kDeltaEps);
    const at::Tensor expected = golden.at("linear_out." + n).unsqueeze(0);
    EXPECT_TRUE(all_close(delta_rule(x, weights, kDeltaShape, kDeltaEps).out, expected, 1e-3));
    const at::NoGradGuard no_grad;
    EXPECT_TRUE(all_close(delta_rule(x, weights, kDeltaShape, kDeltaEps).out, expected, 1e-3));
  }
}

}  // namespace
}  // namespace ropescope
