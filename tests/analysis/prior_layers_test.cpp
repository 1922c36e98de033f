// Prior attention of models whose layers differ, against mean vectors rotated as each layer does it.
#include <cmath>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>

#include "ropescope/analysis/prior.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/rope/rotation.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using testing::all_close;
using ::testing::HasSubstr;

constexpr int64_t kLayerHeads = 6, kLayerKvHeads = 3, kLayerDim = 32;

/// `texts`: whose moments are kept; 0: none.
Samples samples_of_layers(std::vector<LayerFacts> layers, int64_t texts = 0) {
  at::manual_seed(5);
  const auto count = static_cast<int64_t>(layers.size());
  Samples samples;
  samples.model.num_key_value_heads = kLayerKvHeads;
  samples.model.rope = RopeConfig{};
  samples.model.max_position_embeddings = 64;
  samples.model.num_layers = count;
  samples.model.layers = std::move(layers);
  MomentSet moments;
  moments.mean_q = at::randn({count, kLayerHeads, kLayerDim}, at::kDouble);
  moments.mean_k = at::randn({count, kLayerHeads, kLayerDim}, at::kDouble);
  moments.count = at::full({count, kLayerHeads}, 10 * std::max<int64_t>(texts, 1), at::kLong);
  if (texts > 0) {
    const auto of_texts = [&](at::Tensor& mean) {
      const at::Tensor noise = at::randn({texts, count, kLayerHeads, kLayerDim}, at::kDouble);
      const at::Tensor each = (mean + 0.2 * noise).to(at::kFloat);
      mean = each.to(at::kDouble).mean(0);
      return each;
    };
    moments.text_mean_q = of_texts(moments.mean_q);
    moments.text_mean_k = of_texts(moments.mean_k);
    moments.text_count = at::full({texts}, 10, at::kLong);
  }
  samples.moments = moments;
  return samples;
}

PriorOptions options_of_last(std::vector<int64_t> lengths = {0}) {
  PriorOptions options;
  options.text_lengths = std::move(lengths);
  options.by_head = true;
  return options;
}

LayerFacts plain_layer() {
  LayerFacts layer;
  layer.head_dim = kLayerDim;
  return layer;
}

/// Layers 0: sliding, adjacent pairs, partial. 1: full, another base and scale of scores. 2: no rotation, chunks.
std::vector<LayerFacts> three_layers() {
  std::vector<LayerFacts> layers(3);
  for (LayerFacts& layer : layers) layer.head_dim = kLayerDim;
  layers[0].kind = "sliding_attention";
  layers[0].window = 40;
  layers[0].rope.theta = 500;
  layers[0].rope.partial_rotary_factor = 0.5;
  layers[0].pairing = PairLayout::kAdjacent;
  layers[1].score_scale = 0.1;
  layers[1].first_rotary = 8;
  layers[2].rotates = false;
  layers[2].chunk = 40;
  return layers;
}

/// Of one head of a layer onto every key: logits by the model's own rotation, keys outside of its reach NaN.
at::Tensor layered_logits(const at::Tensor& q, const at::Tensor& k, const LayerFacts& layer,
                          const Scheme& scheme, const Positions& positions, int64_t query,
                          const RopeConfig& rope) {
  const int64_t tokens = positions.tokens(), first = layer.first_rotary;
  const auto rotated = [&](const at::Tensor& x) {
    const at::Tensor all = x.view({1, 1, 1, kLayerDim}).expand({1, 1, tokens, kLayerDim}).contiguous();
    if (!layer.rotates) return all.view({tokens, kLayerDim});
    const Frequencies frequencies =
        scheme.frequencies(rope, kLayerDim - first, kLayerKvHeads, 64, positions.largest() + 1);
    const RotaryTable table =
        make_rotary_table(positions.coordinates.unsqueeze(1), frequencies, layer.pairing);
    return at::cat({all.narrow(3, 0, first), apply_rotary(all.narrow(3, first, kLayerDim - first), table)}, 3)
        .view({tokens, kLayerDim});
  };
  at::Tensor logits = rotated(k).matmul(rotated(q)[query]);
  for (int64_t key = 0; key < tokens; ++key) {
    const bool seen = key <= query && (layer.window == 0 || query - key < layer.window) &&
                      (layer.chunk == 0 || query / layer.chunk == key / layer.chunk);
    if (!seen) logits[key] = NAN;
  }
  return logits;
}

TEST(PriorByLayers, EveryLayerTurnsAndSeesAsItDoesInTheModel) {
  const Samples samples = samples_of_layers(three_layers());
  const Layout layout = parse_layout("text:5,image:5x6,text:18");
  for (const std::string text : {"vanilla", "mrope"}) {
    for (const double theta : {0.0, 2000.0}) {  // 0: each layer's own
      SCOPED_TRACE(fmt::format("{} {}", text, theta));
      PriorOptions options = options_of_last();
      if (theta > 0) {
        options.rope = RopeConfig{};
        options.rope->theta = theta;
      }
      const PriorResult result = compute_prior(samples, layout, {text}, options);
      const SchemePrior& prior = result.schemes.front();
      const Scheme scheme(text);
      const Positions positions = scheme.positions(layout);
      at::Tensor attention_sum = at::full({layout.tokens()}, 0.0, at::kDouble);
      double uniform = 0, most_visual = 0, sees_visual = 0;
      for (int64_t l = 0; l < 3; ++l) {
        const LayerFacts& layer = samples.model.layers[static_cast<size_t>(l)];
        RopeConfig rope = layer.rope;
        if (theta > 0) rope.theta = theta;
        for (int64_t h = 0; h < kLayerHeads; ++h) {
          const at::Tensor logits =
              layered_logits(samples.moments->mean_q[l][h], samples.moments->mean_k[l][h], layer, scheme,
                             positions, prior.query, rope);
          const at::Tensor found = prior.logits_by_head[l][h];
          EXPECT_TRUE(found.isnan().equal(logits.isnan())) << l;
          EXPECT_TRUE(all_close(found.nan_to_num(0.0), logits.nan_to_num(0.0).to(at::kFloat), 3e-4)) << l;
          const double scale =
              layer.score_scale > 0 ? layer.score_scale : 1 / std::sqrt(static_cast<double>(kLayerDim));
          const at::Tensor attention = (logits * scale).nan_to_num(-INFINITY).softmax(-1);
          EXPECT_TRUE(all_close(prior.attention_by_head[l][h], attention.to(at::kFloat), 2e-5)) << l;
          attention_sum += attention;
          const at::Tensor visual = positions.modality.ne(0).logical_and(logits.isnan().logical_not());
          const double keys = logits.isnan().logical_not().sum().item<double>();
          uniform += visual.sum().item<double>() / keys;
          if (!visual.any().item<bool>()) continue;
          most_visual += attention.index({visual}).max().item<double>() - 1 / keys;
          ++sees_visual;
        }
      }
      const double heads = 3.0 * kLayerHeads;
      EXPECT_TRUE(all_close(prior.attention, attention_sum / heads, 2e-5));
      EXPECT_NEAR(prior.uniform_share.front(), uniform / heads, 1e-12);
      EXPECT_LT(sees_visual, heads) << "the chunks hide the image";
      EXPECT_NEAR(prior.number("sink_visual").mean, most_visual / sees_visual, 1e-5);
      EXPECT_EQ(std::isnan(result.theta), theta == 0.0);
      EXPECT_EQ(result.layers, "sliding: layers 0; full: layers 1; no rotation: layers 2");
    }
  }
}

TEST(PriorByLayers, EqualLayersGiveTheNumbersOfAFileWithoutLayers) {
  const Samples with = samples_of_layers({plain_layer(), plain_layer()}, 4);
  Samples without = with;
  without.model.layers.clear();
  const PriorOptions options = options_of_last({0, 50});
  const Layout layout = parse_layout("text:5,anyres:4x6+8x12,text:3");
  const SchemePrior a = compute_prior(without, layout, {"id-align"}, options).schemes.front();
  const SchemePrior b = compute_prior(with, layout, {"id-align"}, options).schemes.front();
  EXPECT_TRUE(a.logits.equal(b.logits));
  EXPECT_TRUE(a.attention.equal(b.attention));
  for (size_t i = 0; i < a.numbers.size(); ++i) {
    EXPECT_EQ(a.numbers[i].mean, b.numbers[i].mean) << a.numbers[i].name;
    EXPECT_EQ(a.numbers[i].ci95_high, b.numbers[i].ci95_high) << a.numbers[i].name;
  }
}

TEST(PriorByLayers, NormsAfterTheRotationAreRefused) {
  Samples samples = samples_of_layers({plain_layer(), plain_layer()});
  samples.model.layers[1].norm_after_rotation = true;
  const Layout layout = parse_layout("text:5,image:4x4,text:3");
  PriorOptions options = options_of_last();
  try {
    compute_prior(samples, layout, {"vanilla"}, options);
    FAIL() << "accepted";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("layers 1 normalise q and k after the rotation"));
    EXPECT_THAT(error.what(), HasSubstr("--layers 0"));
  }
  options.layers = {0};
  EXPECT_NO_THROW(compute_prior(samples, layout, {"vanilla"}, options));
}

}  // namespace
}  // namespace ropescope
