// Decay under PoPE against turning every pair as the public code does, channel by channel.
#include "ropescope/analysis/pope.h"

#include <cmath>

#include <gtest/gtest.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/analysis/decay.h"
#include "ropescope/analysis/statistics.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/tensor_operators.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

constexpr int64_t kChannels = 6, kPopeHeads = 4, kPopeLayers = 2, kPopePairs = 80;

Samples pope_pairs() {
  at::manual_seed(21);
  Samples samples;
  samples.pairs.q = at::randn({kPopePairs, kChannels}, at::kDouble);
  samples.pairs.k = at::randn({kPopePairs, kChannels}, at::kDouble);
  samples.pairs.text = at::randint(7, {kPopePairs}, at::kLong);
  samples.pairs.layer = at::randint(kPopeLayers, {kPopePairs}, at::kLong);
  samples.pairs.head = at::randint(kPopeHeads, {kPopePairs}, at::kLong);
  samples.model.num_layers = kPopeLayers;
  samples.model.num_heads = kPopeHeads;
  samples.model.num_key_value_heads = 2;
  samples.model.head_dim = kChannels;
  samples.model.max_position_embeddings = 64;
  return samples;
}

/// The score of each pair, query at `m`, key at 0: (mu_q cos, mu_q sin) with (mu_k cos, mu_k sin) of the key's own angle.
std::vector<double> scores(const Samples& samples, double theta, double m, const at::Tensor& bias) {
  std::vector<double> all;
  for (int64_t n = 0; n < kPopePairs; ++n) {
    double score = 0;
    const int64_t layer = samples.pairs.layer[n].item<int64_t>(),
                  head = samples.pairs.head[n].item<int64_t>();
    for (int64_t c = 0; c < kChannels; ++c) {
      const auto magnitude = [](double x) { return std::log1p(std::exp(x)); };
      const double q = magnitude(samples.pairs.q[n][c].item<double>());
      const double k = magnitude(samples.pairs.k[n][c].item<double>());
      const double f = std::pow(theta, -static_cast<double>(c) / kChannels);
      const double of_q = m * f, of_k = 0 * f + bias[layer][head][c].item<double>();
      score += q * std::cos(of_q) * k * std::cos(of_k) + q * std::sin(of_q) * k * std::sin(of_k);
    }
    all.push_back(score);
  }
  return all;
}

DecayOptions pope_options(at::Tensor delta) {
  DecayOptions options;
  options.theta = {1e4, 30};
  options.distance = at::tensor({0, 1, 5, 40, 3000}, at::kLong);
  options.pope = PopeBias{std::move(delta)};
  return options;
}

void compare(const DecayOptions& options, const at::Tensor& bias) {
  const Samples samples = pope_pairs();
  const DecayResult result = compute_decay({samples}, options);
  const auto* text = samples.pairs.text.const_data_ptr<int64_t>();
  const auto* layer = samples.pairs.layer.const_data_ptr<int64_t>();
  for (int64_t t = 0; t < 2; ++t) {
    for (int64_t d = 0; d < 5; ++d) {
      const std::vector<double> all =
          scores(samples, options.theta[static_cast<size_t>(t)], result.distance[d].item<double>(), bias);
      double mean = 0, of_layer = 0, in_layer = 0;
      for (size_t n = 0; n < all.size(); ++n) {
        mean += all[n] / kPopePairs;
        if (layer[n] != 1) continue;
        of_layer += all[n];
        ++in_layer;
      }
      EXPECT_NEAR(result.mean[t][d].item<double>(), mean, 1e-9);
      EXPECT_NEAR(result.by_layer[t][1][d].item<double>(), of_layer / in_layer, 1e-5);
      // Cluster-robust over the seven texts: squares of the texts' sums of deviations.
      std::vector<double> sums(7, 0.0);
      for (size_t n = 0; n < all.size(); ++n)
        sums[static_cast<size_t>(text[n])] += (all[n] - mean) / kPopePairs;
      double squares = 0;
      for (const double sum : sums) squares += sum * sum;
      const double margin = std::sqrt(squares * 7 / 6) * student_quantile(0.95, 6);
      EXPECT_NEAR(result.ci95_high[t][d].item<double>() - mean, margin, 1e-9);
      EXPECT_LE(std::abs(result.normalised[t][d].item<double>()), 1.0);
    }
  }
}

TEST(Pope, CurvesEqualTheSumOverChannelsOfEveryPair) {
  const at::Tensor none = at::zeros({kPopeLayers, kPopeHeads, kChannels}, at::kDouble);
  compare(pope_options({}), none);
  compare(pope_options(at::tensor(-0.7, at::kDouble)), none - 0.7);
  const at::Tensor each = at::randn({kPopeLayers, kPopeHeads, kChannels}, at::kDouble).abs().mul(-1.0);
  compare(pope_options(each), each);
  // Of key heads, two query heads each, and clamped as the public code clamps.
  const at::Tensor keys = at::randn({2, kChannels}, at::kDouble).mul(4);
  compare(pope_options(keys), keys.clamp(-2 * M_PI, 0)
                                  .repeat_interleave(2, 0)
                                  .unsqueeze(0)
                                  .expand({kPopeLayers, kPopeHeads, kChannels}));
}

TEST(Pope, PaperSignPutsTheKeyLater) {
  DecayOptions options = pope_options(at::tensor(-0.7, at::kDouble));
  options.sign = DecaySign::kPaper;
  const Samples samples = pope_pairs();
  const DecayResult result = compute_decay({samples}, options);
  const at::Tensor bias = at::zeros({kPopeLayers, kPopeHeads, kChannels}, at::kDouble) - 0.7;
  double mean = 0;
  for (const double score : scores(samples, 1e4, -5, bias)) mean += score / kPopePairs;
  EXPECT_NEAR(result.mean[0][2].item<double>(), mean, 1e-9);
}

TEST(Pope, LeavesScalingPartialRotationAndPairingBehind) {
  Samples samples = pope_pairs();
  LayerFacts facts;
  facts.head_dim = kChannels;
  facts.rope.theta = 500;
  facts.rope.type = RopeType::kLinear;
  facts.rope.factor = 8;
  facts.rope.partial_rotary_factor = 1.0 / 3;
  facts.pairing = PairLayout::kAdjacent;
  samples.model.layers = {facts, facts};
  samples.model.layers[1].rotates = false;
  DecayOptions options = pope_options({});
  options.theta.clear();
  const DecayResult result = compute_decay({samples}, options);
  EXPECT_EQ(result.theta[0].item<double>(), 500);
  EXPECT_EQ(result.coefficient_a.size(2), kChannels);
  double rotating = 0, still = 0, turned = 0, flat = 0;
  const at::Tensor bias = at::zeros({kPopeLayers, kPopeHeads, kChannels}, at::kDouble);
  const std::vector<double> far = scores(samples, 500, 40, bias), near = scores(samples, 500, 0, bias);
  for (int64_t n = 0; n < kPopePairs; ++n) {
    const bool turns = samples.pairs.layer[n].item<int64_t>() == 0;
    (turns ? rotating : still) += 1;
    (turns ? turned : flat) += turns ? far[static_cast<size_t>(n)] : near[static_cast<size_t>(n)];
  }
  EXPECT_NEAR(result.mean[0][3].item<double>(), turned / rotating, 1e-9);
  EXPECT_NEAR(result.by_layer[0][1][3].item<double>(), flat / still, 1e-5);
}

TEST(Pope, RefusesMomentsAndPhasesOfAnotherShape) {
  DecayOptions options = pope_options({});
  options.source = SampleSource::kMoments;
  EXPECT_THROW(compute_decay({pope_pairs()}, options), UsageError);
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{5}, {3, 6}, {3, 4, 6}, {1, 2, 4, 6}}) {
    EXPECT_THROW(compute_decay({pope_pairs()}, pope_options(at::zeros(shape, at::kDouble))), UsageError);
  }
}

}  // namespace
}  // namespace ropescope
