// Decay of models whose layers differ, against rotating every pair as its own layer does, in float64.
#include "ropescope/analysis/decay_layers.h"

#include <cmath>
#include <string>
#include <vector>

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

#include "ropescope/analysis/decay.h"
#include "ropescope/analysis/statistics.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/tensor_operators.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using testing::all_close;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kLayeredDim = 12, kLayeredTexts = 6;

/// Layers 0, 2: sliding, half pairs. 1: full, another base, linear scaling, adjacent pairs in the first 8 channels.
/// 3: no rotation. 4: a latent's last 6 channels, adjacent, YaRN.
std::vector<LayerFacts> five_layers() {
  std::vector<LayerFacts> layers(5);
  for (LayerFacts& layer : layers) layer.head_dim = kLayeredDim;
  for (const size_t l : {0, 2}) {
    layers[l].kind = "sliding_attention";
    layers[l].window = 16;
    layers[l].rope.theta = 100;
  }
  layers[1].rope.theta = 5000;
  layers[1].rope.type = RopeType::kLinear;
  layers[1].rope.factor = 2;
  layers[1].rope.partial_rotary_factor = 8.0 / kLayeredDim;
  layers[1].pairing = PairLayout::kAdjacent;
  layers[3].rotates = false;
  layers[4].first_rotary = 6;
  layers[4].pairing = PairLayout::kAdjacent;
  layers[4].rope.theta = 700;
  layers[4].rope.type = RopeType::kYarn;
  layers[4].rope.factor = 3;
  layers[4].rope.original_max_position_embeddings = 32;
  return layers;
}

Samples layered_samples(std::vector<LayerFacts> layers, int64_t count = 150) {
  at::manual_seed(21);
  Samples samples;
  PairSet& pairs = samples.pairs;
  pairs.q = at::randn({count, kLayeredDim}, at::kDouble) + 0.4;
  pairs.k = at::randn({count, kLayeredDim}, at::kDouble) + 0.4;
  pairs.text = at::randint(kLayeredTexts, {count}, at::kLong);
  pairs.layer = at::randint(static_cast<int64_t>(layers.size()), {count}, at::kLong);
  pairs.head = at::randint(2, {count}, at::kLong);
  // What a text says concerns all its layers: their deviations go together.
  pairs.q += at::randn({kLayeredTexts, kLayeredDim}, at::kDouble).index_select(0, pairs.text);
  samples.model.head_dim = kLayeredDim;
  samples.model.num_layers = static_cast<int64_t>(layers.size());
  samples.model.num_heads = 2;
  samples.model.max_position_embeddings = 128;
  samples.model.layers = std::move(layers);
  return samples;
}

/// x [D] turned_as_layer by `position` as the layer does it, pair by pair, from the definition.
std::vector<double> turned_as_layer(const at::Tensor& x, const LayerFacts& layer, double position) {
  std::vector<double> y(x.const_data_ptr<double>(), x.const_data_ptr<double>() + kLayeredDim);
  if (!layer.rotates) return y;
  const Frequencies frequencies = make_frequencies(layer.rope, kLayeredDim - layer.first_rotary, 128, 128);
  const int64_t pairs = frequencies.inv_freq.size(0);
  for (int64_t i = 0; i < pairs; ++i) {
    const bool adjacent = layer.pairing == PairLayout::kAdjacent;
    const auto a = static_cast<size_t>(layer.first_rotary + (adjacent ? 2 * i : i));
    const auto b = adjacent ? a + 1 : a + static_cast<size_t>(pairs);
    const double angle = position * frequencies.inv_freq[i].item<double>();
    const double first = y[a], second = y[b], scale = frequencies.attention_scale;
    y[a] = scale * (first * std::cos(angle) - second * std::sin(angle));
    y[b] = scale * (second * std::cos(angle) + first * std::sin(angle));
  }
  return y;
}

/// Logit of every pair at distance m, [N].
at::Tensor logits_at(const Samples& samples, const std::vector<LayerFacts>& layers, double m) {
  std::vector<double> logits;
  for (int64_t i = 0; i < samples.pairs.size(); ++i) {
    const LayerFacts& layer = layers[static_cast<size_t>(samples.pairs.layer[i].item<int64_t>())];
    const auto q = turned_as_layer(samples.pairs.q[i].contiguous(), layer, m),
               k = turned_as_layer(samples.pairs.k[i].contiguous(), layer, 0);
    double sum = 0;
    for (size_t c = 0; c < q.size(); ++c) sum += q[c] * k[c];
    logits.push_back(sum);
  }
  return at::tensor(logits, at::kDouble);
}

/// Half the width of the cluster-robust interval, by its formula.
double width_of_clusters(const at::Tensor& logits, const at::Tensor& text) {
  const double mean = logits.mean().item<double>();
  double squares = 0, clusters = 0;
  for (int64_t t = 0; t < kLayeredTexts; ++t) {
    const at::Tensor of_text = logits.index({text == t});
    if (of_text.numel() == 0) continue;
    ++clusters;
    squares += std::pow((of_text - mean).sum().item<double>(), 2);
  }
  return student_quantile(0.95, static_cast<int64_t>(clusters) - 1) *
         std::sqrt(clusters / (clusters - 1) * squares) / static_cast<double>(logits.numel());
}

at::Tensor in_layers(const Samples& samples, const std::vector<int64_t>& layers) {
  at::Tensor mask = at::zeros({samples.pairs.size()}, at::kBool);
  for (const int64_t layer : layers) mask = mask.logical_or(samples.pairs.layer == layer);
  return mask;
}

DecayOptions layered_options(const std::vector<int64_t>& distances) {
  DecayOptions options;
  options.distance = at::tensor(distances, at::kLong);
  return options;
}

TEST(DecayByLayers, EqualsTurningEveryPairAsItsLayerDoes) {
  const std::vector<LayerFacts> layers = five_layers();
  const Samples samples = layered_samples(layers);
  const DecayResult result = compute_decay({samples}, layered_options({0, 1, 9, 100}));
  ASSERT_EQ(result.kinds.size(), 4u);
  std::vector<std::string> names, members;
  for (const DecayKind& kind : result.kinds) {
    names.push_back(kind.name);
    members.push_back(kind.layers);
  }
  EXPECT_THAT(names, ElementsAre("sliding", "full (layers 1)", "no rotation", "full (layers 4)"));
  EXPECT_THAT(members, ElementsAre("0,2", "1", "3", "4"));
  EXPECT_EQ(result.kinds[0].window, 16);
  const std::vector<std::vector<int64_t>> kinds = {{0, 2}, {1}, {3}, {4}};
  const at::Tensor rotating = in_layers(samples, {0, 1, 2, 4});
  const at::Tensor norms = (samples.pairs.q.pow(2).sum(-1) * samples.pairs.k.pow(2).sum(-1)).sqrt();
  for (int64_t d = 0; d < 4; ++d) {
    SCOPED_TRACE(d);
    const at::Tensor logits = logits_at(samples, layers, result.distance[d].item<double>());
    const auto of = [&](const at::Tensor& mask) { return logits.index({mask}); };
    const auto text = [&](const at::Tensor& mask) { return samples.pairs.text.index({mask}); };
    EXPECT_NEAR(result.mean[0][d].item<double>(), of(rotating).mean().item<double>(), 1e-9);
    EXPECT_NEAR(result.std[0][d].item<double>(), of(rotating).std(false).item<double>(), 1e-8);
    // Over parts as over one: deviations of a text are added before they are squared.
    EXPECT_NEAR((result.ci95_high[0][d] - result.mean[0][d]).item<double>(),
                width_of_clusters(of(rotating), text(rotating)), 1e-9);
    for (int64_t k = 0; k < 4; ++k) {
      const at::Tensor mask = in_layers(samples, kinds[static_cast<size_t>(k)]);
      EXPECT_NEAR(result.kind_mean[0][k][d].item<double>(), of(mask).mean().item<double>(), 1e-9);
      EXPECT_NEAR((result.kind_ci95_high[0][k][d] - result.kind_mean[0][k][d]).item<double>(),
                  width_of_clusters(of(mask), text(mask)), 1e-9);
    }
    for (int64_t l = 0; l < 5; ++l) {
      const at::Tensor mask = in_layers(samples, {l});
      EXPECT_NEAR(result.by_layer[0][l][d].item<double>(), of(mask).mean().item<double>(), 1e-4);
      EXPECT_NEAR((result.by_layer_ci95_high[0][l][d] - result.by_layer[0][l][d]).item<double>(),
                  width_of_clusters(of(mask), text(mask)), 1e-4);
      const at::Tensor head = mask.logical_and(samples.pairs.head == 1);
      EXPECT_NEAR(result.by_head[0][l][1][d].item<double>(), of(head).mean().item<double>(), 1e-4);
    }
  }
  const double scale = std::pow(0.1 * std::log(3.0) + 1, 2);  // YaRN's, of layer 4
  const at::Tensor weight = 1 + (samples.pairs.layer == 4).to(at::kDouble) * (scale - 1);
  EXPECT_TRUE(
      all_close(result.normalised[0], result.mean[0] / (norms * weight).index({rotating}).mean(), 1e-9));
  EXPECT_TRUE(all_close(result.band_contribution.sum(1), result.mean, 1e-9));
  EXPECT_TRUE(all_close(result.band_share.narrow(2, 1, 3).sum(1), at::ones({1, 3}, at::kDouble), 1e-9));
  EXPECT_TRUE((result.mean.abs() <= result.abel_bound + 1e-9).all().item<bool>());
  EXPECT_EQ(result.count_behind, rotating.sum().item<int64_t>());
  EXPECT_TRUE(std::isnan(result.theta.item<double>()));
  EXPECT_TRUE(std::isnan(result.kind_theta[0][2].item<double>()));
  EXPECT_EQ(result.kind_theta[0][1].item<double>(), 5000);
}

TEST(DecayByLayers, WithoutRotationItIsFlatAndNoPartOfTheMean) {
  std::vector<LayerFacts> layers = five_layers();
  const Samples samples = layered_samples(layers);
  const DecayResult result = compute_decay({samples}, layered_options({0, 3, 64, 5000}));
  for (int64_t d = 1; d < 4; ++d) {
    EXPECT_TRUE(result.by_layer[0][3][d].equal(result.by_layer[0][3][0]));
    EXPECT_TRUE(result.kind_mean[0][2][d].equal(result.kind_mean[0][2][0]));
  }
  EXPECT_THAT(result.notes, ::testing::Contains(HasSubstr("layers 3 do not rotate")));
  // Moved away, the layer changes nothing of the mean.
  Samples others = samples;
  const at::Tensor kept = (samples.pairs.layer != 3).nonzero().squeeze(1);
  PairSet& pairs = others.pairs;
  for (at::Tensor* x : {&pairs.q, &pairs.k, &pairs.text, &pairs.layer, &pairs.head})
    *x = x->index_select(0, kept);
  const DecayResult without = compute_decay({others}, layered_options({0, 3, 64, 5000}));
  EXPECT_TRUE(all_close(without.mean, result.mean, 1e-12));
  EXPECT_TRUE(all_close(without.ci95_low, result.ci95_low, 1e-12));
}

TEST(DecayByLayers, WhereNoLayerRotatesThereIsNoMean) {
  std::vector<LayerFacts> layers(2);
  for (LayerFacts& layer : layers) {
    layer.head_dim = kLayeredDim;
    layer.rotates = false;
  }
  const Samples samples = layered_samples(layers);
  const DecayResult result = compute_decay({samples}, layered_options({0, 9}));
  EXPECT_TRUE(result.mean.isnan().all().item<bool>());
  const at::Tensor logits = (samples.pairs.q * samples.pairs.k).sum(-1);
  EXPECT_NEAR(result.kind_mean[0][0][1].item<double>(), logits.mean().item<double>(), 1e-12);
  EXPECT_FALSE(result.kind_ci95_low.isnan().any().item<bool>());
  EXPECT_THAT(result.notes, ElementsAre(HasSubstr("there is no mean over layers that rotate")));
}

/// Every dataset, bit by bit; NaN is NaN.
void expect_same_bits(const DecayResult& a, const DecayResult& b) {
  const auto same = [](const char* name, const at::Tensor& x, const at::Tensor& y) {
    ASSERT_EQ(x.defined(), y.defined()) << name;
    if (!x.defined()) return;
    EXPECT_TRUE(x.isnan().equal(y.isnan())) << name;
    EXPECT_TRUE(x.nan_to_num(0.0).equal(y.nan_to_num(0.0))) << name;
  };
  same("mean", a.mean, b.mean);
  same("ci95_low", a.ci95_low, b.ci95_low);
  same("ci95_high", a.ci95_high, b.ci95_high);
  same("std", a.std, b.std);
  same("abel_bound", a.abel_bound, b.abel_bound);
  same("normalised", a.normalised, b.normalised);
  same("relative", a.relative, b.relative);
  same("band_contribution", a.band_contribution, b.band_contribution);
  same("band_share", a.band_share, b.band_share);
  same("band_frequency", a.band_frequency, b.band_frequency);
  same("by_layer", a.by_layer, b.by_layer);
  same("by_layer_ci95_low", a.by_layer_ci95_low, b.by_layer_ci95_low);
  same("by_head", a.by_head, b.by_head);
  same("coefficient_a", a.coefficient_a, b.coefficient_a);
  same("coefficient_b", a.coefficient_b, b.coefficient_b);
}

TEST(DecayByLayers, EqualLayersGiveTheBitsOfAFileWithoutLayers) {
  LayerFacts layer;
  layer.head_dim = kLayeredDim;
  layer.rope.theta = 2000;
  layer.rope.partial_rotary_factor = 8.0 / kLayeredDim;
  const Samples with = layered_samples(std::vector<LayerFacts>(3, layer));
  Samples without = with;
  without.model.rope = layer.rope;
  without.model.layers.clear();
  const DecayOptions own = layered_options({0, 1, 5, 300});
  expect_same_bits(compute_decay({with}, own), compute_decay({without}, own));
  DecayOptions given = own;
  given.theta = {1e4, 50};
  const DecayResult result = compute_decay({with}, given);
  expect_same_bits(result, compute_decay({without}, given));
  ASSERT_EQ(result.kinds.size(), 1u);
  EXPECT_TRUE(result.kind_mean.select(1, 0).equal(result.mean));
  EXPECT_TRUE(result.kind_ci95_high.select(1, 0).equal(result.ci95_high));
}

TEST(DecayByLayers, BasesAreGivenOrScaled) {
  std::vector<LayerFacts> layers = five_layers();
  const Samples samples = layered_samples(layers);
  DecayOptions options = layered_options({7});
  const auto expected = [&](const auto& change) {
    std::vector<LayerFacts> changed = layers;
    for (LayerFacts& layer : changed) layer.rope.theta = change(layer.rope.theta);
    return logits_at(samples, changed, 7)
        .index({in_layers(samples, {0, 1, 2, 4})})
        .mean()
        .template item<double>();
  };
  options.theta = {300, 4e4};
  const DecayResult given = compute_decay({samples}, options);
  EXPECT_NEAR(given.mean[1][0].item<double>(), expected([](double) { return 4e4; }), 1e-9);
  EXPECT_TRUE(given.theta.equal(at::tensor({300.0, 4e4}, at::kDouble)));
  EXPECT_EQ(theta_source(given.options), "given");
  options.theta = {};
  options.theta_scale = {1, 16};
  const DecayResult scaled = compute_decay({samples}, options);
  EXPECT_NEAR(scaled.mean[1][0].item<double>(), expected([](double own) { return 16 * own; }), 1e-9);
  EXPECT_TRUE(scaled.theta.isnan().all().item<bool>());
  EXPECT_TRUE(scaled.theta_scale.equal(at::tensor({1.0, 16.0}, at::kDouble)));
  EXPECT_EQ(scaled.kind_theta[1][3].item<double>(), 16 * 700);
  EXPECT_EQ(theta_source(scaled.options), "scaled");
  options.theta = {1e4};
  EXPECT_THROW(compute_decay({samples}, options), UsageError);
  Samples unknown = samples;
  unknown.model.layers.clear();
  EXPECT_THROW(compute_decay({unknown}, layered_options({7})), UsageError);
}

TEST(DecayByLayers, NormsAfterTheRotationAreSaid) {
  std::vector<LayerFacts> layers = five_layers();
  layers[1].norm_after_rotation = true;
  const Samples samples = layered_samples(layers);
  const DecayResult result = compute_decay({samples}, layered_options({0}));
  EXPECT_THAT(result.notes, ::testing::Contains(HasSubstr("layers 1 normalise q and k after the rotation")));
  const at::Tensor q = samples.pairs.q.index({in_layers(samples, {1})});
  EXPECT_NEAR(result.norm_q[1].item<double>(), q.pow(2).sum(-1).sqrt().mean().item<double>(), 1e-12);
  EXPECT_FALSE(compute_decay({layered_samples(five_layers())}, layered_options({0})).norm_q.defined());
}

/// Moments of all heads from vectors of each text, [texts][tokens, L, H, D].
MomentSet layered_moments(const std::vector<at::Tensor>& q, const std::vector<at::Tensor>& k) {
  const auto covariance = [](const at::Tensor& x) {  // [N, L, H, D]
    const at::Tensor centred = (x - x.mean(0)).permute({1, 2, 0, 3});
    return centred.transpose(-1, -2).matmul(centred) / static_cast<double>(x.size(0));
  };
  MomentSet set;
  const at::Tensor all_q = at::cat(q), all_k = at::cat(k);
  set.mean_q = all_q.mean(0);
  set.mean_k = all_k.mean(0);
  set.cov_q = covariance(all_q);
  set.cov_k = covariance(all_k);
  set.count = at::zeros({all_q.size(1), all_q.size(2)}, at::kLong) + all_q.size(0);
  std::vector<at::Tensor> text_q, text_k;
  std::vector<int64_t> tokens;
  for (size_t t = 0; t < q.size(); ++t) {
    text_q.push_back(q[t].mean(0));
    text_k.push_back(k[t].mean(0));
    tokens.push_back(q[t].size(0));
  }
  set.text_mean_q = at::stack(text_q);
  set.text_mean_k = at::stack(text_k);
  set.text_count = at::tensor(tokens, at::kLong);
  return set;
}

TEST(DecayOfMomentsByLayers, EqualsTurningMeansAsTheirLayersDo) {
  const std::vector<LayerFacts> layers = five_layers();
  Samples samples = layered_samples(layers);
  std::vector<at::Tensor> q, k;
  for (const int64_t tokens : {7, 12, 9}) {
    q.push_back(at::randn({tokens, 5, 2, kLayeredDim}, at::kDouble) +
                at::randn({1, 1, 1, kLayeredDim}, at::kDouble));
    k.push_back(at::randn({tokens, 5, 2, kLayeredDim}, at::kDouble) + 0.5);
  }
  samples.moments = layered_moments(q, k);
  DecayOptions options = layered_options({0, 2, 31});
  options.source = SampleSource::kMoments;
  const DecayResult result = compute_decay({samples}, options);
  // Product of the turned_as_layer means of a head.
  const auto logit = [&](const std::vector<at::Tensor>& of_q, const std::vector<at::Tensor>& of_k, int64_t l,
                         int64_t h, double m) {
    const LayerFacts& layer = layers[static_cast<size_t>(l)];
    const auto mean = [&](const std::vector<at::Tensor>& x) { return at::cat(x).mean(0)[l][h].contiguous(); };
    const auto a = turned_as_layer(mean(of_q), layer, m), b = turned_as_layer(mean(of_k), layer, 0);
    double sum = 0;
    for (size_t c = 0; c < a.size(); ++c) sum += a[c] * b[c];
    return sum;
  };
  const auto mean_over = [&](const std::vector<int64_t>& members, const std::vector<at::Tensor>& of_q,
                             const std::vector<at::Tensor>& of_k, double m) {
    double sum = 0;
    for (const int64_t l : members) sum += logit(of_q, of_k, l, 0, m) + logit(of_q, of_k, l, 1, m);
    return sum / static_cast<double>(2 * members.size());
  };
  const auto reach = [&](const std::vector<int64_t>& members, double m) {
    std::vector<double> without;
    for (size_t t = 0; t < q.size(); ++t) {
      std::vector<at::Tensor> q_rest = q, k_rest = k;
      q_rest.erase(q_rest.begin() + static_cast<std::ptrdiff_t>(t));
      k_rest.erase(k_rest.begin() + static_cast<std::ptrdiff_t>(t));
      without.push_back(mean_over(members, q_rest, k_rest, m));
    }
    const at::Tensor e = at::tensor(without, at::kDouble);
    return student_quantile(0.95, 2) * std::sqrt(2.0 / 3.0 * (e - e.mean()).pow(2).sum().item<double>());
  };
  for (int64_t d = 0; d < 3; ++d) {
    const double m = result.distance[d].item<double>();
    EXPECT_NEAR(result.mean[0][d].item<double>(), mean_over({0, 1, 2, 4}, q, k, m), 1e-9);
    const double width = reach({0, 1, 2, 4}, m);
    EXPECT_NEAR((result.ci95_high[0][d] - result.mean[0][d]).item<double>(), width, 1e-4 * width);
    const double of_sliding = reach({0, 2}, m);
    EXPECT_NEAR(result.kind_mean[0][0][d].item<double>(), mean_over({0, 2}, q, k, m), 1e-9);
    EXPECT_NEAR((result.kind_ci95_high[0][0][d] - result.kind_mean[0][0][d]).item<double>(), of_sliding,
                1e-4 * of_sliding);
    EXPECT_NEAR(result.kind_mean[0][2][d].item<double>(), mean_over({3}, q, k, m), 1e-9);
    EXPECT_NEAR(result.by_head[0][4][1][d].item<double>(), logit(q, k, 4, 1, m), 1e-4);
    // Spread over all pairs of tokens of each head that turns.
    std::vector<at::Tensor> logits;
    for (const int64_t l : {0, 1, 2, 4}) {
      const LayerFacts& layer = layers[static_cast<size_t>(l)];
      for (int64_t h = 0; h < 2; ++h) {
        const auto rows = [&](const std::vector<at::Tensor>& x, double position) {
          const at::Tensor all = at::cat(x).select(1, l).select(1, h).contiguous();
          std::vector<at::Tensor> turned_rows;
          for (int64_t i = 0; i < all.size(0); ++i) {
            turned_rows.push_back(
                at::tensor(turned_as_layer(all[i].contiguous(), layer, position), at::kDouble));
          }
          return at::stack(turned_rows);
        };
        logits.push_back(rows(q, m).matmul(rows(k, 0).t()).flatten());
      }
    }
    EXPECT_NEAR(result.std[0][d].item<double>(), at::cat(logits).std(false).item<double>(), 1e-7);
  }
}

}  // namespace
}  // namespace ropescope
