// Locality against rotating every key to every distance, closed forms, and simulated queries and keys.
#include "ropescope/analysis/locality.h"

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/analysis/statistics.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/tensor_operators.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using testing::all_close;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Pairs of `texts` texts, `layers` layers and four query heads with two key/value heads.
Samples locality_samples(int64_t count, int64_t dim, int64_t texts = 5, int64_t layers = 2) {
  at::manual_seed(5);
  Samples samples;
  PairSet& pairs = samples.pairs;
  pairs.q = at::randn({count, dim}, at::kDouble) + 0.3;
  pairs.k = at::randn({count, dim}, at::kDouble) + 0.3;
  pairs.text = at::randint(texts, {count}, at::kLong);
  pairs.layer = at::randint(layers, {count}, at::kLong);
  pairs.head = at::randint(4, {count}, at::kLong);
  samples.model.head_dim = dim;
  samples.model.num_layers = layers;
  samples.model.num_heads = 4;
  samples.model.num_key_value_heads = 2;
  samples.model.rope = RopeConfig{};
  samples.model.rope->theta = 50;
  return samples;
}

LocalityOptions lengths_of(std::vector<int64_t> lengths, std::vector<double> theta = {}) {
  LocalityOptions options;
  options.lengths = std::move(lengths);
  options.theta = std::move(theta);
  return options;
}

/// q . R(-m) k with halves turned pair by pair, the key m tokens before the query.
double turned_score(const at::Tensor& q, const at::Tensor& k, double theta, double m) {
  const int64_t half = q.size(0) / 2;
  double sum = 0;
  for (int64_t i = 0; i < half; ++i) {
    const double angle = m * std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(q.size(0)));
    const double q1 = q[i].item<double>(), q2 = q[half + i].item<double>();
    const double turned1 = q1 * std::cos(angle) - q2 * std::sin(angle);
    const double turned2 = q2 * std::cos(angle) + q1 * std::sin(angle);
    sum += turned1 * k[i].item<double>() + turned2 * k[half + i].item<double>();
  }
  return sum;
}

/// Every m < n of every pair, and every m != n of every two keys, one by one.
struct ByDefinition {
  std::vector<double> near, order;  // of each pair; order NaN without k'
};

ByDefinition by_definition(const Samples& samples, double theta, int64_t length, const at::Tensor& second) {
  ByDefinition all;
  for (int64_t p = 0; p < samples.pairs.size(); ++p) {
    const int64_t other = second[p].item<int64_t>();
    std::vector<double> score, difference;
    for (int64_t m = 0; m < length; ++m) {
      const at::Tensor q = samples.pairs.q[p];
      score.push_back(turned_score(q, samples.pairs.k[p], theta, static_cast<double>(m)));
      if (other < 0) continue;
      difference.push_back(score.back() -
                           turned_score(q, samples.pairs.k[other], theta, static_cast<double>(m)));
    }
    double near = 0, flips = 0, count = 0;
    for (size_t n = 0; n < score.size(); ++n) {
      for (size_t m = 0; m < n; ++m) {
        near += score[m] > score[n] ? 1 : 0;
        if (other >= 0) flips += difference[m] * difference[n] < 0 ? 1 : 0;
        ++count;
      }
    }
    all.near.push_back(near / count);
    all.order.push_back(other < 0 ? NAN : flips / count);
  }
  return all;
}

/// Mean of the values that `among` holds of, and half the width of its interval, by the formula.
struct Expected {
  double mean = 0, margin = 0;
};
Expected expected_of(const std::vector<double>& values, const at::Tensor& text,
                     const std::function<bool(int64_t)>& among) {
  double sum = 0, count = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    if (!among(static_cast<int64_t>(i)) || std::isnan(values[i])) continue;
    sum += values[i];
    ++count;
  }
  Expected expected{sum / count, 0};
  double squares = 0, clusters = 0;
  for (int64_t t = 0; t < text.max().item<int64_t>() + 1; ++t) {
    double residual = 0;
    bool any = false;
    for (size_t i = 0; i < values.size(); ++i) {
      const auto place = static_cast<int64_t>(i);
      if (text[place].item<int64_t>() != t || !among(place) || std::isnan(values[i])) continue;
      residual += values[i] - expected.mean;
      any = true;
    }
    squares += residual * residual;
    clusters += any ? 1 : 0;
  }
  const double quantile = student_quantile(0.95, static_cast<int64_t>(clusters) - 1);
  expected.margin = quantile * std::sqrt(clusters / (clusters - 1) * squares) / count;
  return expected;
}

TEST(Locality, CountsWhatTheDefinitionSays) {
  const Samples samples = locality_samples(60, 6);
  const LocalityResult result = compute_locality(samples, lengths_of({7, 20}, {3.0, 200.0}));
  const at::Tensor second = second_keys(samples);
  for (int64_t t = 0; t < 2; ++t) {
    for (int64_t n = 0; n < 2; ++n) {
      const ByDefinition all = by_definition(samples, t == 0 ? 3.0 : 200.0, n == 0 ? 7 : 20, second);
      const auto check = [&](const LocalityShare& share, const std::vector<double>& values) {
        const Expected whole = expected_of(values, samples.pairs.text, [](int64_t) { return true; });
        EXPECT_NEAR(share.mean[t][n].item<double>(), whole.mean, 1e-12);
        EXPECT_NEAR(share.low[t][n].item<double>(), whole.mean - whole.margin, 1e-12);
        EXPECT_NEAR(share.high[t][n].item<double>(), whole.mean + whole.margin, 1e-12);
        for (int64_t layer = 0; layer < 2; ++layer) {
          const auto in_layer = [&](int64_t i) { return samples.pairs.layer[i].item<int64_t>() == layer; };
          const Expected of_layer = expected_of(values, samples.pairs.text, in_layer);
          EXPECT_NEAR(share.layer_mean[t][n][layer].item<double>(), of_layer.mean, 1e-12);
          EXPECT_NEAR(share.layer_high[t][n][layer].item<double>(),
                      std::min(1.0, of_layer.mean + of_layer.margin), 1e-12);
          const Expected of_head = expected_of(values, samples.pairs.text, [&](int64_t i) {
            return in_layer(i) && samples.pairs.head[i].item<int64_t>() == 3;
          });
          EXPECT_NEAR(share.head_mean[t][n][layer][3].item<double>(), of_head.mean, 1e-12);
        }
      };
      check(result.near, all.near);
      check(result.order, all.order);
    }
  }
  EXPECT_EQ(result.near.pairs, 60);
  EXPECT_EQ(result.near.clusters, 5);
  EXPECT_EQ(result.order.pairs, (second >= 0).sum().item<int64_t>());
  EXPECT_EQ(result.near.count.sum().item<int64_t>(), 60);
  EXPECT_EQ(result.order.count.sum().item<int64_t>(), result.order.pairs);
}

TEST(Locality, TheSecondKeyIsTheNextOfItsTextLayerAndKeyHead) {
  Samples samples = locality_samples(7, 4);
  PairSet& pairs = samples.pairs;
  pairs.text = at::tensor({0, 0, 1, 0, 0, 0, 1}, at::kLong);
  pairs.layer = at::tensor({0, 0, 0, 0, 1, 0, 0}, at::kLong);
  pairs.head = at::tensor({0, 1, 0, 2, 0, 0, 3}, at::kLong);  // 0 and 1 share keys, 2 and 3 do
  const auto second = [&] {
    const at::Tensor found = second_keys(samples);
    return std::vector<int64_t>(found.const_data_ptr<int64_t>(), found.const_data_ptr<int64_t>() + 7);
  };
  EXPECT_THAT(second(), ElementsAre(1, 5, -1, -1, -1, 0, -1));
  pairs.k[1].copy_(pairs.k[5]);  // the same key: no two to put in order
  EXPECT_THAT(second(), ElementsAre(1, 0, -1, -1, -1, 0, -1));
  samples.model.num_key_value_heads = 0;  // unknown: a key head each
  EXPECT_THAT(second(), ElementsAre(5, -1, -1, -1, -1, 0, -1));
}

TEST(Locality, FallingScoresAlwaysPreferNearKeysAndNeverFlip) {
  // One channel pair of base 1e4's slowest sort, q = k: s(m) = cos(m f) falls all the way to half a turn.
  Samples samples = locality_samples(12, 2);
  samples.pairs.q = at::tensor({1.0, 0.0}, at::kDouble).repeat({12, 1});
  const at::Tensor size = at::arange(1, 13, at::kDouble).unsqueeze(1);
  samples.pairs.k = samples.pairs.q * size;  // longer keys stay ahead while the cosine is above 0
  samples.model.rope->type = RopeType::kLinear;
  samples.model.rope->factor = 1000;  // m / 1000 radians
  const LocalityResult result = compute_locality(samples, lengths_of({2, 500, 1500, 3141}));
  EXPECT_TRUE(result.near.mean.eq(1.0).all().item<bool>());
  EXPECT_TRUE(result.near.low.eq(1.0).all().item<bool>());
  EXPECT_TRUE(result.order.mean[0].narrow(0, 0, 3).eq(0.0).all().item<bool>());
  // Beyond a quarter turn (1570.8) every order is turned round: 1571 places before it and 1570 behind.
  EXPECT_NEAR(result.order.mean[0][3].item<double>(), 2.0 * 1571 * 1570 / (3141.0 * 3140.0), 1e-12);
  EXPECT_TRUE(result.near.half_length.isnan().all().item<bool>());
  EXPECT_EQ(result.order.half_length[0].item<double>(), 3141);
}

TEST(Locality, OneTurningPairHasItsClosedForm) {
  // s(x) = cos(x + phi), x over one turn. With phi = 0 a turn reads the same backwards: 1/2. A phase moves its first stretch
  // [0, phi) to the end; of a in that stretch and b in the rest, cos a > cos b on 2 pi phi - 3/2 phi^2 of phi (2 pi - phi),
  // and all these change sides: 1/2 - phi (pi - phi) / pi^2.
  Samples samples = locality_samples(4, 2);
  const double phi = 0.7;
  samples.pairs.q = at::tensor({std::cos(phi), std::sin(phi)}, at::kDouble).repeat({4, 1});
  samples.pairs.k = at::tensor({1.0, 0.0}, at::kDouble).repeat({4, 1});
  samples.model.rope->type = RopeType::kLinear;
  samples.model.rope->factor = 1000;
  const auto turn = static_cast<int64_t>(std::lround(2000 * std::acos(-1.0)));
  LocalityOptions options = lengths_of({turn, 40 * turn});
  options.points = 0;
  const LocalityResult result = compute_locality(samples, options);
  const double pi = std::acos(-1.0);
  EXPECT_NEAR(result.near.mean[0][0].item<double>(), 0.5 - phi * (pi - phi) / (pi * pi), 2e-3);
  EXPECT_NEAR(result.near.mean[0][1].item<double>(), 0.5, 0.01);  // forty turns: the first no longer counts
}

TEST(Locality, RandomQueriesAndKeysAreChance) {
  // -k is as likely as k and turns every preference round: near is 1/2 whatever the base. Under a small base scores far apart
  // share nothing, and flips are near 1/2 too.
  Samples samples = locality_samples(3000, 32, 30, 1);
  samples.pairs.q = at::randn({3000, 32}, at::kDouble);
  samples.pairs.k = at::randn({3000, 32}, at::kDouble);
  const LocalityResult result = compute_locality(samples, lengths_of({64}, {1.5, 1e5}));
  for (int64_t t = 0; t < 2; ++t) {
    EXPECT_LE(result.near.low[t][0].item<double>(), 0.5);
    EXPECT_GE(result.near.high[t][0].item<double>(), 0.5);
    EXPECT_LT(result.near.high[t][0].item<double>() - result.near.low[t][0].item<double>(), 0.06);
    EXPECT_EQ(result.near.half_length[t].item<double>(), 64);
  }
  EXPECT_NEAR(result.order.mean[0][0].item<double>(), 0.5, 0.02);
  EXPECT_EQ(result.order.half_length[0].item<double>(), 64);
  EXPECT_LT(result.order.high[1][0].item<double>(), 0.4);  // slow pairs keep the order
  EXPECT_TRUE(std::isnan(result.order.half_length[1].item<double>()));
}

TEST(Locality, SlowPairsFlipAsGaussiansDo) {
  // Under a base so large that all but the first pair stand still over 64 tokens, the difference of two keys is a constant
  // g ~ N(0, 2 (h-1) * 2) plus one pair turning evenly with amplitude r: signs are shared unless |g| < r. Simulated apart.
  constexpr int64_t kCount = 4000, kDim = 8;
  Samples samples = locality_samples(kCount, kDim, 40, 1);
  samples.pairs.q = at::randn({kCount, kDim}, at::kDouble);
  samples.pairs.k = at::randn({kCount, kDim}, at::kDouble);
  const LocalityResult result = compute_locality(samples, lengths_of({512}, {1e40}));
  at::manual_seed(99);
  const at::Tensor q = at::randn({200000, kDim}, at::kDouble);
  const at::Tensor difference = at::randn({200000, kDim}, at::kDouble) * std::sqrt(2.0);
  const int64_t half = kDim / 2;
  const at::Tensor product = q * difference;
  const at::Tensor still = product.sum(1) - product.select(1, 0) - product.select(1, half);
  const at::Tensor length =
      [&](const at::Tensor& x) {
        return (x.select(1, 0) * x.select(1, 0) + x.select(1, half) * x.select(1, half)).sqrt();
      }(q) *
      (difference.select(1, 0) * difference.select(1, 0) +
       difference.select(1, half) * difference.select(1, half))
          .sqrt();
  // The share p of an even turn at which still + length cos(x) > 0, and 2 p (1 - p).
  const at::Tensor p = (still / length).clamp(-1, 1).neg().acos() / std::acos(-1.0);
  const double expected = (p * (1 - p)).mean().item<double>() * 2;
  EXPECT_NEAR(result.order.mean[0][0].item<double>(), expected, 0.012);
  EXPECT_LT(result.order.low[0][0].item<double>(), expected + 0.003);
  EXPECT_GT(result.order.high[0][0].item<double>(), expected - 0.003);
}

TEST(Locality, DrawnDistancesStandForAll) {
  const Samples samples = locality_samples(400, 16, 10);
  LocalityOptions options = lengths_of({4096}, {1e3});
  options.points = 0;
  const LocalityResult all = compute_locality(samples, options);
  options.points = 256;
  const LocalityResult drawn = compute_locality(samples, options);
  EXPECT_EQ(drawn.points[0].item<int64_t>(), 256);
  EXPECT_NEAR(drawn.near.mean[0][0].item<double>(), all.near.mean[0][0].item<double>(), 0.006);
  EXPECT_NEAR(drawn.order.mean[0][0].item<double>(), all.order.mean[0][0].item<double>(), 0.006);
  EXPECT_FALSE(drawn.near.mean.equal(all.near.mean));
  options.seed = 1;
  EXPECT_FALSE(compute_locality(samples, options).near.mean.equal(drawn.near.mean));
  options.points = 4096;
  EXPECT_TRUE(compute_locality(samples, options).near.mean.equal(all.near.mean));
}

TEST(Locality, IntervalsHoldTheErrorOfDrawnDistances) {
  // One pair in every text: texts differ in their draws alone.
  Samples samples = locality_samples(40, 8, 40, 1);
  samples.pairs.q = samples.pairs.q[0].repeat({40, 1});
  samples.pairs.k = samples.pairs.k[0].repeat({40, 1});
  samples.pairs.text = at::arange(40, at::kLong);
  LocalityOptions options = lengths_of({1000}, {20});
  options.points = 0;
  const LocalityResult all = compute_locality(samples, options);
  EXPECT_LT((all.near.high - all.near.low).item<double>(), 1e-12);
  options.points = 16;
  const LocalityResult drawn = compute_locality(samples, options);
  const double width = (drawn.near.high - drawn.near.low).item<double>();
  EXPECT_GT(width, 0.005);
  EXPECT_NEAR(drawn.near.mean.item<double>(), all.near.mean.item<double>(), width + 1.0 / 16);
}

TEST(Locality, TheSameBitsOnAnyNumberOfThreads) {
  const Samples samples = locality_samples(700, 8);
  LocalityOptions options = lengths_of({100, 5000}, {10.0, 1e4});
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const LocalityResult one = compute_locality(samples, options);
  at::set_num_threads(4);
  const LocalityResult four = compute_locality(samples, options);
  at::set_num_threads(before);
  EXPECT_TRUE(one.near.mean.equal(four.near.mean));
  EXPECT_TRUE(one.order.head_mean.nan_to_num(9).equal(four.order.head_mean.nan_to_num(9)));
  EXPECT_TRUE(one.order.high.equal(four.order.high));
}

TEST(Locality, LayersAreTurnedAsTheyAre) {
  // Layer 0 by base 3, layer 1 by base 200, layer 2 not: beside each other as alone.
  Samples samples = locality_samples(90, 6, 5, 3);
  samples.model.layers.resize(3);
  for (LayerFacts& layer : samples.model.layers) layer.head_dim = 6;
  samples.model.layers[0].kind = "sliding_attention";
  samples.model.layers[0].window = 8;
  samples.model.layers[0].rope.theta = 3;
  samples.model.layers[1].rope.theta = 200;
  samples.model.layers[2].rotates = false;
  const LocalityResult result = compute_locality(samples, lengths_of({20}));
  EXPECT_TRUE(result.theta.isnan().all().item<bool>());
  ASSERT_EQ(result.kinds.size(), 3u);
  EXPECT_EQ(result.kinds[0].name, "sliding");
  EXPECT_EQ(result.kind_theta[0][1].item<double>(), 200);
  for (int64_t layer = 0; layer < 2; ++layer) {
    const LocalityResult alone = compute_locality(samples, lengths_of({20}, {layer == 0 ? 3.0 : 200.0}));
    for (const auto& [of_all, of_one] :
         {std::pair(&result.near, &alone.near), {&result.order, &alone.order}}) {
      EXPECT_TRUE(of_all->layer_mean[0][0][layer].equal(of_one->layer_mean[0][0][layer]));
      EXPECT_TRUE(of_all->kind_mean[0][0][layer].equal(of_all->layer_mean[0][0][layer]));
      EXPECT_TRUE(of_all->kind_high[0][0][layer].equal(of_all->layer_high[0][0][layer]));
    }
  }
  EXPECT_EQ(result.near.layer_mean[0][0][2].item<double>(), 0.5);
  EXPECT_EQ(result.order.layer_mean[0][0][2].item<double>(), 0.0);
  // The whole leaves the still layer out.
  const at::Tensor weight = result.near.count.sum(1).narrow(0, 0, 2).to(at::kDouble);
  const double whole =
      ((result.near.layer_mean[0][0].narrow(0, 0, 2) * weight).sum() / weight.sum()).item<double>();
  EXPECT_NEAR(result.near.mean[0][0].item<double>(), whole, 1e-14);
  EXPECT_EQ(result.near.pairs, static_cast<int64_t>(weight.sum().item<double>()));
  std::string notes;
  for (const std::string& note : result.notes) notes += note + "\n";
  EXPECT_THAT(notes, HasSubstr("layers 2 do not rotate"));
  LocalityOptions scaled = lengths_of({20});
  scaled.theta_scale = {1, 10};
  EXPECT_TRUE(compute_locality(samples, scaled).near.mean[0].equal(result.near.mean[0]));
}

TEST(Locality, YarnsScaleCountsForTheOrderOfKeys) {
  // Channels that turn are scaled, the others not: a difference that the still channels decide may be decided otherwise.
  Samples samples = locality_samples(200, 8, 5, 1);
  samples.model.rope->partial_rotary_factor = 0.5;
  const LocalityResult plain = compute_locality(samples, lengths_of({32}));
  samples.model.rope->type = RopeType::kYarn;
  samples.model.rope->factor = 1.0001;  // frequencies as before
  samples.model.rope->original_max_position_embeddings = 64;
  samples.model.rope->attention_factor = 3.0;
  const LocalityResult scaled = compute_locality(samples, lengths_of({32}));
  EXPECT_NEAR(scaled.near.mean[0][0].item<double>(), plain.near.mean[0][0].item<double>(), 1e-3);
  EXPECT_GT(scaled.order.mean[0][0].item<double>(), plain.order.mean[0][0].item<double>() + 0.05);
}

TEST(Locality, OneTextHasNoIntervals) {
  const LocalityResult result = compute_locality(locality_samples(20, 4, 1), lengths_of({8}));
  EXPECT_TRUE(result.near.low.isnan().all().item<bool>());
  EXPECT_TRUE(result.near.half_length.isnan().all().item<bool>());
  EXPECT_FALSE(result.near.mean.isnan().any().item<bool>());
  EXPECT_THAT(result.interval, HasSubstr("none"));
}

TEST(Locality, WhatCannotBeCountedIsRefused) {
  const Samples samples = locality_samples(20, 4);
  EXPECT_THROW(compute_locality(samples, lengths_of({})), UsageError);
  EXPECT_THROW(compute_locality(samples, lengths_of({1})), UsageError);
  EXPECT_THROW(compute_locality(samples, lengths_of({kLongestContext + 1})), UsageError);
  EXPECT_THROW(compute_locality(samples, lengths_of({8}, {-1})), UsageError);
  LocalityOptions options = lengths_of({8});
  options.points = 1;
  EXPECT_THROW(compute_locality(samples, options), UsageError);
  Samples unknown = samples;
  unknown.model.rope.reset();
  EXPECT_THROW(compute_locality(unknown, lengths_of({8})), UsageError);
}

}  // namespace
}  // namespace ropescope
