// Fused kernels against the same formulas in float64, over shapes and layouts on both sides of every
// dispatch.
#include <gtest/gtest.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/models/attention.h"
#include "ropescope/models/kernels/linear.h"
#include "ropescope/models/kernels/rms_norm.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using testing::all_close;

// Numbers without a pattern that a kernel could exploit, the same on every machine.
at::Tensor numbers(at::IntArrayRef shape, double phase) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return at::sin(at::linspace(phase, phase + 12.9898 * static_cast<double>(count), count, at::kDouble))
      .view(shape)
      .to(at::kFloat);
}

struct Shape {
  int64_t rows, in, out;
};

TEST(Kernels, ProductsWithEpiloguesEqualFloat64) {
  const at::NoGradGuard no_grad;
  for (const Shape& shape : {Shape{1, 8, 5}, Shape{7, 64, 33}, Shape{70, 64, 33}, Shape{9, 1100, 16}}) {
    for (const bool with_bias : {false, true}) {
      for (const bool strided : {false, true}) {
        SCOPED_TRACE(::testing::Message() << shape.rows << "x" << shape.in << "x" << shape.out << ", bias "
                                          << with_bias << ", strided " << strided);
        at::Tensor x = numbers({2, shape.rows, shape.in}, 0.1);
        if (strided) x = numbers({2, shape.in, shape.rows}, 0.1).transpose(1, 2);
        const at::Tensor gate = numbers({shape.out, shape.in}, 0.2), up = numbers({shape.out, shape.in}, 0.3);
        const at::Tensor bias = with_bias ? numbers({shape.out}, 0.4) : at::Tensor();
        const at::Tensor residual = numbers({2, shape.rows, shape.out}, 0.5), before = residual.clone();
        const auto exact = [&](const at::Tensor& weight) {
          at::Tensor y = at::linear(x.to(at::kDouble), weight.to(at::kDouble));
          return with_bias ? y.add(bias) : y;
        };
        // Rounding of `in` products of size up to 1.
        const double tolerance = 1e-6 * static_cast<double>(shape.in);
        EXPECT_TRUE(all_close(kernels::linear(x, gate, bias), exact(gate), tolerance));
        EXPECT_TRUE(
            all_close(kernels::linear_plus(residual, x, gate, bias), exact(gate).add(residual), tolerance));
        EXPECT_TRUE(all_close(residual, before, 0));
        const at::Tensor opened = exact(gate).mul(at::sigmoid(exact(gate)));
        EXPECT_TRUE(all_close(kernels::gated_linear(x, gate, bias, up, bias), opened.mul(exact(up)),
                              tolerance * 10, 1e-6));
      }
    }
  }
}

TEST(Kernels, RmsNormEqualsFloat64) {
  for (const bool with_autograd : {false, true}) {
    const at::AutoGradMode mode(with_autograd);
    for (const int64_t width : {1, 3, 64, 577}) {
      const at::Tensor x = numbers({2, 5, width}, 0.7).mul(30), weight = numbers({width}, 0.9);
      const at::Tensor wide = x.to(at::kDouble);
      const at::Tensor expected =
          wide.mul(at::rsqrt(wide.square().mean(-1, true).add(1e-5))).mul(weight.to(at::kDouble));
      EXPECT_TRUE(all_close(kernels::rms_norm(x, weight, 1e-5), expected, 1e-6, 1e-6)) << width;
      const at::Tensor view = x.transpose(0, 1);
      EXPECT_TRUE(all_close(kernels::rms_norm(view, weight, 1e-5), expected.transpose(0, 1), 1e-6, 1e-6));
    }
  }
}

// attend() is the fused kernel, rows() the softmax beside it: applied to v they must say the same.
TEST(AttentionPlan, FusedOutputEqualsRowsTimesValues) {
  const at::NoGradGuard no_grad;
  struct Case {
    const char* name;
    int64_t past, tokens;
    at::Tensor mask;
    std::vector<int64_t> segments;
  };
  const at::Tensor left = at::tensor({0, 0, 1, 1, 1, 1, 1, 1, 1, 1}, at::kLong).view({2, 5});
  for (const Case& one :
       {Case{"plain", 0, 5, {}, {}}, Case{"one token", 3, 1, {}, {}},
        Case{"several after a past", 3, 2, {}, {}}, Case{"left padding", 0, 5, left, {}},
        Case{"left padding and a past", 3, 2, left, {}}, Case{"packed", 0, 6, {}, {2, 1, 3}}}) {
    for (const int64_t kv_heads : {1, 2, 4}) {
      SCOPED_TRACE(::testing::Message() << one.name << ", " << kv_heads << " key/value heads");
      const int64_t batch = one.segments.empty() ? 2 : 1, keys = one.past + one.tokens;
      // Token-major memory, as projections give it.
      const at::Tensor q = numbers({batch, one.tokens, 4, 8}, 1.1).transpose(1, 2);
      const at::Tensor k = numbers({batch, keys, kv_heads, 8}, 1.2).transpose(1, 2);
      const at::Tensor v = numbers({batch, keys, kv_heads, 8}, 1.3).transpose(1, 2);
      const AttentionPlan plan(batch, one.tokens, one.past, one.mask, one.segments, at::kFloat, at::kCPU);
      std::vector<int64_t> queries;
      for (int64_t t = one.tokens - 1; t >= 0; --t) queries.push_back(t);
      const at::Tensor rows = plan.rows(q, k, queries).flip(2);
      const at::Tensor expected =
          at::matmul(rows, v.repeat_interleave(4 / kv_heads, 1)).transpose(1, 2).flatten(2);
      EXPECT_TRUE(all_close(plan.attend(q, k, v), expected, 1e-6));
      for (int64_t t = 0; t + 1 < one.tokens; ++t) {
        EXPECT_EQ(rows.select(2, t).slice(2, one.past + t + 1).abs().max().item<double>(), 0.0);
      }
    }
  }
}

TEST(AttentionPlan, ShapesThatDoNotFitAreRefused) {
  const at::Tensor mask = at::tensor({1, 1, 1}, at::kLong).view({1, 3});
  EXPECT_THROW(AttentionPlan(1, 4, 0, mask, {}, at::kFloat, at::kCPU), InputError);
  EXPECT_THROW(AttentionPlan(1, 4, 0, {}, {2, 1}, at::kFloat, at::kCPU), InputError);
  EXPECT_THROW(AttentionPlan(2, 3, 0, {}, {2, 1}, at::kFloat, at::kCPU), InputError);
  EXPECT_THROW(AttentionPlan(1, 3, 0, {}, {3, 0}, at::kFloat, at::kCPU), InputError);
  const AttentionPlan plan(1, 3, 0, {}, {}, at::kFloat, at::kCPU);
  const at::Tensor x = numbers({1, 1, 3, 4}, 0);
  EXPECT_THROW(plan.rows(x, x, {3}), InputError);
}

}  // namespace
}  // namespace ropescope
