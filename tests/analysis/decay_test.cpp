#include "ropescope/analysis/decay.h"

#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/analysis/decay_coefficients.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/tensor_operators.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using testing::all_close;

constexpr int64_t kPairDim = 8;

/// Rotates x by `angle_steps` positions: the definition, in float64.
at::Tensor rotate(const at::Tensor& x, double position, double theta) {
  const int64_t half = x.size(-1) / 2;
  const at::Tensor exponent = at::arange(half, at::kDouble) * (-1.0 / static_cast<double>(half));
  const at::Tensor angle = (exponent * std::log(theta)).exp() * position;
  const at::Tensor a = x.narrow(-1, 0, half);
  const at::Tensor b = x.narrow(-1, half, half);
  return at::cat({a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()}, -1);
}

Samples random_pairs(int64_t count, int64_t texts, int64_t layers, int64_t heads) {
  Samples samples;
  PairSet& pairs = samples.pairs;
  pairs.q = at::randn({count, kPairDim}, at::kDouble) + 0.5;
  pairs.k = at::randn({count, kPairDim}, at::kDouble) + 0.5;
  pairs.text = at::randint(texts, {count}, at::kLong);
  pairs.layer = at::randint(layers, {count}, at::kLong);
  pairs.head = at::randint(heads, {count}, at::kLong);
  samples.model.head_dim = kPairDim;
  samples.model.num_layers = layers;
  samples.model.num_heads = heads;
  samples.model.max_position_embeddings = 64;
  return samples;
}

DecayOptions options_of(std::vector<double> theta, at::Tensor distance) {
  DecayOptions options;
  options.theta = std::move(theta);
  options.distance = std::move(distance);
  return options;
}

TEST(Decay, CurvesEqualRotatingEveryPair) {
  at::manual_seed(10);
  const Samples samples = random_pairs(60, 5, 2, 3);
  DecayOptions options = options_of({1e4, 50.0}, at::tensor({0, 1, 7, 100, 5000}, at::kLong));
  for (const DecaySign sign : {DecaySign::kCausal, DecaySign::kPaper}) {
    options.sign = sign;
    const DecayResult result = compute_decay({samples}, options);
    for (int64_t t = 0; t < 2; ++t) {
      for (int64_t d = 0; d < 5; ++d) {
        const double m = result.distance[d].item<double>();
        const double theta = options.theta[static_cast<size_t>(t)];
        // Causal: query at m, key at 0. Paper: key at m, query at 0.
        const bool causal = sign == DecaySign::kCausal;
        const at::Tensor q = causal ? rotate(samples.pairs.q, m, theta) : samples.pairs.q;
        const at::Tensor k = causal ? samples.pairs.k : rotate(samples.pairs.k, m, theta);
        const at::Tensor logits = (q * k).sum(-1);
        EXPECT_NEAR(result.mean[t][d].item<double>(), logits.mean().item<double>(), 1e-9);
        EXPECT_NEAR(result.std[t][d].item<double>(), logits.std(false).item<double>(), 1e-9);
        const at::Tensor layer1 = logits.index({samples.pairs.layer == 1});
        EXPECT_NEAR(result.by_layer[t][1][d].item<double>(), layer1.mean().item<double>(), 1e-5);
        const at::Tensor head =
            logits.index({(samples.pairs.layer == 1).logical_and(samples.pairs.head == 2)});
        EXPECT_NEAR(result.by_head[t][1][2][d].item<double>(), head.mean().item<double>(), 1e-5);
      }
    }
    EXPECT_TRUE(all_close(result.band_contribution.sum(1), result.mean, 1e-9));
    EXPECT_TRUE((result.mean.abs() <= result.abel_bound + 1e-9).all().item<bool>());
    EXPECT_TRUE(all_close(result.band_share.narrow(2, 1, 4).sum(1), at::ones({2, 4}, at::kDouble), 1e-9));
    EXPECT_TRUE((result.normalised.abs() <= 1.0).all().item<bool>());
    EXPECT_TRUE(all_close(result.relative.select(1, 0), at::ones({2}, at::kDouble), 1e-12));
  }
}

TEST(Decay, IntervalsEqualTheClusterRobustFormulaAtEachDistance) {
  at::manual_seed(11);
  const Samples samples = random_pairs(80, 6, 2, 2);
  const DecayOptions options = options_of({1e3}, at::tensor({0, 3, 40}, at::kLong));
  const DecayResult result = compute_decay({samples}, options);
  EXPECT_EQ(result.clusters, 6);
  const auto half_width = [](const at::Tensor& logits, const at::Tensor& text) {
    const double mean = logits.mean().item<double>();
    double squares = 0;
    for (int64_t t = 0; t < 6; ++t) {
      const double residual = (logits - mean).index({text == t}).sum().item<double>();
      squares += residual * residual;
    }
    return 2.570582 * std::sqrt(6.0 / 5.0 * squares) /
           static_cast<double>(logits.size(0));  // t, 5 degrees of freedom
  };
  for (int64_t d = 0; d < 3; ++d) {
    const at::Tensor logits =
        (rotate(samples.pairs.q, result.distance[d].item<double>(), 1e3) * samples.pairs.k).sum(-1);
    const double width = half_width(logits, samples.pairs.text);
    EXPECT_NEAR((result.ci95_high[0][d] - result.mean[0][d]).item<double>(), width, 1e-5);
    EXPECT_NEAR((result.mean[0][d] - result.ci95_low[0][d]).item<double>(), width, 1e-5);
    const at::Tensor in_layer = samples.pairs.layer == 0;
    EXPECT_NEAR((result.by_layer_ci95_high[0][0][d] - result.by_layer[0][0][d]).item<double>(),
                half_width(logits.index({in_layer}), samples.pairs.text.index({in_layer})), 1e-4);
  }
}

TEST(Decay, IntervalsCoverTheTruthWhenPairsOfATextDependOnEachOther) {
  // Every text has its own mean of q; pairs are not independent, and texts have unequal numbers of pairs. An
  // interval that took pairs for independent would cover far less than 95%.
  at::manual_seed(12);
  constexpr int kTrials = 400;
  constexpr int64_t kTexts = 25;
  constexpr int64_t kEach = 12;
  int covered = 0;
  int naive_covered = 0;
  const DecayOptions options = options_of({100.0}, at::tensor({5}, at::kLong));
  const at::Tensor mean_q = at::arange(kPairDim, at::kDouble) * 0.1;
  const at::Tensor k = at::ones({kTexts * kEach, kPairDim}, at::kDouble);
  const double truth = (rotate(mean_q, 5.0, 100.0) * k[0]).sum().item<double>();
  for (int trial = 0; trial < kTrials; ++trial) {
    Samples samples = random_pairs(kTexts * kEach, 1, 1, 1);
    samples.pairs.text = at::arange(kTexts, at::kLong).repeat_interleave(kEach);
    const at::Tensor of_text = at::randn({kTexts, kPairDim}, at::kDouble).repeat_interleave(kEach, 0);
    samples.pairs.q = mean_q + of_text + at::randn({kTexts * kEach, kPairDim}, at::kDouble);
    samples.pairs.k = k;
    const at::Tensor kept = (at::randint(100, {kTexts * kEach}, at::kLong) < 60).nonzero().squeeze(1);
    for (at::Tensor* x : {&samples.pairs.q, &samples.pairs.k, &samples.pairs.text, &samples.pairs.layer,
                          &samples.pairs.head}) {
      *x = x->index_select(0, kept);
    }
    const DecayResult result = compute_decay({samples}, options);
    const double low = result.ci95_low.item<double>();
    const double high = result.ci95_high.item<double>();
    covered += low <= truth && truth <= high;
    const double naive = 1.96 * result.std.item<double>() / std::sqrt(static_cast<double>(kept.size(0)));
    naive_covered += std::abs(result.mean.item<double>() - truth) <= naive;
  }
  // 380 expected; the standard deviation of the count is 4.4.
  EXPECT_GE(covered, 380 - 18);
  EXPECT_LE(covered, 380 + 18);
  EXPECT_LT(naive_covered, 280);
}

TEST(Decay, OneTextHasNoIntervalAndSaysSo) {
  at::manual_seed(13);
  const DecayResult result =
      compute_decay({random_pairs(20, 1, 1, 1)}, options_of({1e4}, at::tensor({0, 1}, at::kLong)));
  EXPECT_TRUE(result.ci95_low.isnan().all().item<bool>());
  EXPECT_FALSE(result.mean.isnan().any().item<bool>());
  ASSERT_EQ(result.notes.size(), 1u);
  EXPECT_THAT(result.notes[0], ::testing::HasSubstr("no confidence intervals"));
}

TEST(Decay, HeadsWithoutPairsAreNan) {
  at::manual_seed(14);
  Samples samples = random_pairs(20, 3, 2, 2);
  samples.pairs.layer.zero_();
  samples.pairs.head.zero_();
  const DecayResult result = compute_decay({samples}, options_of({1e4}, at::tensor({0, 9}, at::kLong)));
  EXPECT_TRUE(result.by_layer[0][1].isnan().all().item<bool>());
  EXPECT_TRUE(result.by_head[0][0][1].isnan().all().item<bool>());
  EXPECT_TRUE(result.coefficient_a[1].isnan().all().item<bool>());
  EXPECT_TRUE(all_close(result.by_head[0][0][0], result.mean[0].to(at::kFloat), 1e-6));
  EXPECT_EQ(result.count[0][0].item<int64_t>(), 20);
  EXPECT_EQ(result.count[1][1].item<int64_t>(), 0);
}

TEST(Decay, MapsBeyondTheMemoryLimitAreLeftOutByName) {
  at::manual_seed(15);
  DecayOptions options = options_of({1e4}, at::arange(1000, at::kLong));
  options.memory_limit_bytes = 500'000;
  const Samples samples = random_pairs(50, 3, 6, 20);
  const DecayResult result = compute_decay({samples}, options);
  EXPECT_TRUE(result.by_layer.defined());
  EXPECT_FALSE(result.by_head.defined());
  ASSERT_EQ(result.notes.size(), 1u);
  EXPECT_THAT(result.notes[0], ::testing::HasSubstr("by_head left out"));
  options.memory_limit_bytes = 1000;
  EXPECT_THROW(compute_decay({samples}, options), EnvironmentError);
}

/// Moments of one head per layer from given vectors of each text.
MomentSet moments_of(const std::vector<at::Tensor>& q, const std::vector<at::Tensor>& k) {
  const auto covariance = [](const at::Tensor& x) {
    const at::Tensor centred = x - x.mean(0);
    return centred.t().matmul(centred) / static_cast<double>(x.size(0));
  };
  MomentSet set;
  const at::Tensor all_q = at::cat(q);
  const at::Tensor all_k = at::cat(k);
  set.mean_q = all_q.mean(0).view({1, 1, -1});
  set.mean_k = all_k.mean(0).view({1, 1, -1});
  set.cov_q = covariance(all_q).unsqueeze(0).unsqueeze(0);
  set.cov_k = covariance(all_k).unsqueeze(0).unsqueeze(0);
  set.count = at::tensor({all_q.size(0)}, at::kLong).view({1, 1});
  std::vector<at::Tensor> text_q, text_k;
  std::vector<int64_t> tokens;
  for (size_t t = 0; t < q.size(); ++t) {
    text_q.push_back(q[t].mean(0).view({1, 1, -1}).to(at::kFloat));
    text_k.push_back(k[t].mean(0).view({1, 1, -1}).to(at::kFloat));
    tokens.push_back(q[t].size(0));
  }
  set.text_mean_q = at::stack(text_q);
  set.text_mean_k = at::stack(text_k);
  set.text_count = at::tensor(tokens, at::kLong);
  return set;
}

TEST(DecayOfMoments, EqualsTheMeanAndSpreadOverAllPairsOfTokens) {
  at::manual_seed(16);
  std::vector<at::Tensor> q, k;
  for (const int64_t tokens : {7, 12, 9}) {
    const at::Tensor mix = at::randn({kPairDim, kPairDim}, at::kDouble);
    q.push_back(at::randn({tokens, kPairDim}, at::kDouble).matmul(mix) + 1.0);
    k.push_back(at::randn({tokens, kPairDim}, at::kDouble).matmul(mix) - 2.0);
  }
  Samples samples = random_pairs(1, 1, 1, 1);
  samples.moments = moments_of(q, k);
  DecayOptions options = options_of({100.0}, at::tensor({0, 2, 31}, at::kLong));
  options.source = SampleSource::kMoments;
  const DecayResult result = compute_decay({samples}, options);
  for (int64_t d = 0; d < 3; ++d) {
    // All pairs (query token, key token), whatever their texts: what independent draws would average.
    const at::Tensor logits =
        rotate(at::cat(q), result.distance[d].item<double>(), 100.0).matmul(at::cat(k).t());
    EXPECT_NEAR(result.mean[0][d].item<double>(), logits.mean().item<double>(), 1e-9);
    EXPECT_NEAR(result.std[0][d].item<double>(), logits.std(false).item<double>(), 1e-8);

    // Delete-one-text jackknife, by its definition.
    std::vector<double> without;
    for (size_t t = 0; t < q.size(); ++t) {
      std::vector<at::Tensor> q_rest = q, k_rest = k;
      q_rest.erase(q_rest.begin() + static_cast<std::ptrdiff_t>(t));
      k_rest.erase(k_rest.begin() + static_cast<std::ptrdiff_t>(t));
      without.push_back((rotate(at::cat(q_rest).mean(0), result.distance[d].item<double>(), 100.0) *
                         at::cat(k_rest).mean(0))
                            .sum()
                            .item<double>());
    }
    const at::Tensor e = at::tensor(without, at::kDouble);
    const double error = std::sqrt(2.0 / 3.0 * ((e - e.mean()) * (e - e.mean())).sum().item<double>());
    EXPECT_NEAR((result.ci95_high[0][d] - result.mean[0][d]).item<double>(), 4.302653 * error, 1e-4 * error);
  }
  EXPECT_EQ(result.clusters, 3);
}

TEST(DecayOfMoments, MeansAloneAreEnough) {
  Samples samples = random_pairs(1, 1, 1, 1);
  MomentSet set;
  set.mean_q = at::ones({2, 3, kPairDim}, at::kDouble);
  set.mean_k = at::ones({2, 3, kPairDim}, at::kDouble) * 2.0;
  set.mean_q[1][2].fill_(std::numeric_limits<double>::quiet_NaN());
  set.count = at::tensor({1, 1, 1, 1, 1, 0}, at::kLong).view({2, 3});
  samples.moments = set;
  samples.model.num_layers = 2;
  samples.model.num_heads = 3;
  DecayOptions options = options_of({1e4}, at::tensor({0}, at::kLong));
  options.source = SampleSource::kMoments;
  const DecayResult result = compute_decay({samples}, options);
  EXPECT_NEAR(result.mean.item<double>(), 2.0 * kPairDim, 1e-12);
  EXPECT_NEAR(result.by_layer[0][1][0].item<double>(), 2.0 * kPairDim, 1e-6);
  EXPECT_TRUE(std::isnan(result.by_head[0][1][2][0].item<double>()));
  EXPECT_FALSE(result.std.defined());
  EXPECT_TRUE(result.ci95_low.isnan().all().item<bool>());
}

TEST(Decay, PartialRotationLeavesTheOtherChannelsAlone) {
  at::manual_seed(17);
  Samples samples = random_pairs(30, 3, 1, 1);
  samples.model.rope = RopeConfig{};
  samples.model.rope->partial_rotary_factor = 0.5;
  const DecayResult result = compute_decay({samples}, options_of({100.0}, at::tensor({0, 6}, at::kLong)));
  const at::Tensor q =
      at::cat({rotate(samples.pairs.q.narrow(1, 0, 4), 6.0, 100.0), samples.pairs.q.narrow(1, 4, 4)}, 1);
  EXPECT_NEAR(result.mean[0][1].item<double>(), (q * samples.pairs.k).sum(-1).mean().item<double>(), 1e-9);
}

TEST(LogGrid, HitsBothEnds) {
  EXPECT_THAT(log_grid(1e4, 1e7, 4), ::testing::ElementsAre(1e4, ::testing::DoubleNear(1e5, 1e-6),
                                                            ::testing::DoubleNear(1e6, 1e-5), 1e7));
  // Exactly: 1e5 must be found again by its value.
  EXPECT_EQ(log_grid(1e4, 1e7, 4), (std::vector<double>{1e4, 1e5, 1e6, 1e7}));
  EXPECT_THAT(log_grid(5.0, 5.0, 1), ::testing::ElementsAre(5.0));
  EXPECT_THROW(log_grid(0.0, 1.0, 3), UsageError);
}

}  // namespace
}  // namespace ropescope
