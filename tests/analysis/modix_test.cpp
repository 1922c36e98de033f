// MODIX's step against the formula written out with whole determinants and loops.
#include "ropescope/analysis/modix.h"

#include <cmath>

#include <gtest/gtest.h>

#include <ATen/ops/eye.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/tensor_operators.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

/// log det of a symmetric positive matrix by elimination.
double log_determinant(at::Tensor m) {
  m = m.clone();
  double sum = 0;
  for (int64_t i = 0; i < m.size(0); ++i) {
    const double pivot = m[i][i].item<double>();
    sum += std::log(pivot);
    for (int64_t r = i + 1; r < m.size(0); ++r) m[r] -= m[i] * (m[r][i].item<double>() / pivot);
  }
  return sum;
}

double written_entropy(const at::Tensor& x) {
  const int64_t n = x.size(0), width = x.size(1);
  at::Tensor covariance = at::zeros({width, width}, at::kDouble);
  const at::Tensor mean = x.sum(0) / static_cast<double>(n);
  for (int64_t i = 0; i < n; ++i) {
    const at::Tensor d = x[i] - mean;
    covariance += d.unsqueeze(1) * d.unsqueeze(0);
  }
  return 0.5 * log_determinant(covariance / static_cast<double>(n) + at::eye(width, at::kDouble) * 1e-6);
}

double written_interaction(const at::Tensor& from, const at::Tensor& to) {
  double sum = 0;
  for (int64_t i = 0; i < from.size(0); ++i) {
    double best = -2;
    for (int64_t j = 0; j < to.size(0); ++j) {
      const double dot = (from[i] * to[j]).sum().item<double>();
      best = std::max(best, dot / std::sqrt((from[i] * from[i]).sum().item<double>() *
                                            (to[j] * to[j]).sum().item<double>()));
    }
    sum += best;
  }
  return sum / static_cast<double>(from.size(0));
}

void compare_step(const at::Tensor& text, const at::Tensor& visual, double a) {
  const ModixStep step = modix_step(text, visual, a);
  const double ht = written_entropy(text), hv = written_entropy(visual);
  const double st = written_interaction(text, visual), sv = written_interaction(visual, text);
  EXPECT_NEAR(step.text.entropy, ht, 1e-8 * std::abs(ht));
  EXPECT_NEAR(step.visual.entropy, hv, 1e-8 * std::abs(hv));
  EXPECT_NEAR(step.text.interaction, st, 1e-12);
  EXPECT_NEAR(step.visual.interaction, sv, 1e-12);
  EXPECT_NEAR(step.text.intra, ht / (ht + hv), 1e-8);
  EXPECT_NEAR(step.text.inter, st / (st + sv), 1e-12);
  const double ct = std::pow(ht / (ht + hv), a) * std::pow(st / (st + sv), 1 - a);
  const double cv = std::pow(hv / (ht + hv), a) * std::pow(sv / (st + sv), 1 - a);
  EXPECT_NEAR(step.text.contribution, ct / (ct + cv), 1e-8);
  EXPECT_NEAR(step.text.contribution + step.visual.contribution, 1, 1e-12);
  EXPECT_NEAR(step.delta, ct / cv, 1e-8 * ct / cv);
  EXPECT_NEAR(step.delta, step.text.contribution / step.visual.contribution, 1e-12 * step.delta);
}

TEST(Modix, EqualsTheFormulaWrittenOut) {
  at::manual_seed(4);
  const at::Tensor shared = at::randn({6}, at::kDouble);
  const at::Tensor text = at::randn({40, 6}, at::kDouble) * 3 + shared;
  const at::Tensor visual = at::randn({50, 6}, at::kDouble) * 1.7 + shared;
  for (const double a : {0.0, 0.25, 0.5, 1.0}) compare_step(text, visual, a);
  // Fewer tokens than channels: the rest of the determinant is epsilon's.
  compare_step(text.narrow(0, 0, 4), visual.narrow(0, 0, 5), 0.5);
}

TEST(Modix, EqualEmbeddingsHaveEqualShares) {
  at::manual_seed(5);
  const at::Tensor x = at::randn({30, 4}, at::kDouble) * 5;
  const ModixStep same = modix_step(x, x);
  EXPECT_NEAR(same.delta, 1, 1e-12);
  EXPECT_NEAR(same.text.interaction, 1, 1e-12);
}

TEST(Modix, TellsWhenFewTokensTurnTheSharesRound) {
  at::manual_seed(6);
  const at::Tensor text = at::randn({5, 32}, at::kDouble), visual = at::randn({20, 32}, at::kDouble);
  const ModixStep step = modix_step(text, visual);
  EXPECT_TRUE(step.turned_round());
  EXPECT_EQ(step.text.spanned, 4);
  EXPECT_EQ(step.visual.spanned, 19);
  EXPECT_GT(step.text.intra, step.visual.intra) << "fewer directions, the larger share";
}

TEST(Modix, RefusesWhatHasNoShares) {
  at::manual_seed(7);
  const at::Tensor wide = at::randn({40, 4}, at::kDouble) * 10,
                   narrow = at::randn({40, 4}, at::kDouble) * 0.01;
  EXPECT_THROW(modix_step(wide, narrow), NumericsError);
  EXPECT_THROW(modix_step(wide.narrow(0, 0, 0), wide), UsageError);
  EXPECT_THROW(modix_step(wide, wide, 1.5), UsageError);
  EXPECT_THROW(modix_step(wide / 0.0, wide), NumericsError);
}

}  // namespace
}  // namespace ropescope
