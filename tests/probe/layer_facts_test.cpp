#include "ropescope/probe/layer_facts.h"

#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/tensor_operators.h"
#include "ropescope/probe/samples.h"

#include "tests/support/golden.h"
#include "tests/support/refusal.h"

namespace ropescope {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// A sliding layer, one without rotation, a latent one with adjacent pairs and YaRN, a delta rule.
std::vector<LayerFacts> four_kinds() {
  std::vector<LayerFacts> layers(4);
  layers[0].kind = "sliding_attention";
  layers[0].window = 16;
  layers[0].head_dim = 8;
  layers[0].rope.theta = 100;
  layers[0].rope.partial_rotary_factor = 0.5;
  layers[0].score_scale = 0.25;
  layers[1].rotates = false;
  layers[1].head_dim = 8;
  layers[1].score_scale = 0.5;
  layers[2].head_dim = 8;
  layers[2].first_rotary = 2;
  layers[2].pairing = PairLayout::kAdjacent;
  layers[2].rope.theta = 5000;
  layers[2].rope.type = RopeType::kYarn;
  layers[2].rope.factor = 4;
  layers[2].rope.original_max_position_embeddings = 32;
  layers[2].norm_after_rotation = true;
  layers[2].chunk = 8;
  layers[2].score_scale = 1;
  layers[3].kind = "linear_attention";
  layers[3].has_qk = layers[3].rotates = false;
  return layers;
}

Samples described_samples(std::vector<LayerFacts> layers) {
  Samples samples;
  samples.pairs.q = at::randn({3, 8});
  samples.pairs.k = at::randn({3, 8});
  samples.pairs.text = at::tensor({0, 1, 1}, at::kLong);
  samples.pairs.layer = at::tensor({0, 1, 2}, at::kLong);
  samples.pairs.head = samples.pairs.query = samples.pairs.key = at::zeros({3}, at::kLong);
  samples.text_names = {"a", "b"};
  samples.text_tokens = {40, 50};
  samples.model.num_layers = static_cast<int64_t>(layers.size());
  samples.model.num_heads = samples.model.num_key_value_heads = 2;
  samples.model.head_dim = 8;
  samples.model.max_position_embeddings = 128;
  samples.model.layers = std::move(layers);
  return samples;
}

TEST(LayerFacts, SurviveTheFile) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.path("s.h5");
  const Samples samples = described_samples(four_kinds());
  ResultWriter writer(path, Provenance{}, false);
  write_samples(writer, samples);
  writer.commit();
  const Samples read = read_samples(path, SampleSource::kPairs);
  EXPECT_TRUE(read.model.layers == samples.model.layers);
  const ResultReader file(path);
  EXPECT_THAT(file.read_strings("/samples/layers/pairs"), ElementsAre("half", "half", "adjacent", "half"));
  EXPECT_TRUE(file.read("/samples/layers/rotary_dims").equal(at::tensor({4, 0, 6, 0}, at::kLong)));
  EXPECT_TRUE(file.read("/samples/layers/window").equal(at::tensor({16, 0, 0, 0}, at::kLong)));
  const at::Tensor inv_freq = file.read("/samples/layers/inv_freq");
  EXPECT_EQ(inv_freq.sizes().vec(), (std::vector<int64_t>{4, 3}));
  EXPECT_TRUE(testing::all_close(inv_freq[0].narrow(0, 0, 2), at::tensor({1.0, 0.1}, at::kDouble), 1e-15));
  EXPECT_TRUE(inv_freq[0][2].isnan().item<bool>());
  EXPECT_TRUE(inv_freq[1].isnan().all().item<bool>());
  EXPECT_NEAR(file.read("/samples/layers/attention_scale")[2].item<double>(), 0.1 * std::log(4.0) + 1, 1e-15);
  EXPECT_THAT(std::get<std::string>(file.attribute("/pairs", "stage")),
              HasSubstr("layers 2 normalise q and k"));
}

TEST(LayerFacts, AnOldFileHasNone) {
  const testing::TemporaryFolder folder;
  Samples samples = described_samples({});
  samples.model.num_layers = 4;
  ResultWriter writer(folder.path("s.h5"), Provenance{}, false);
  write_samples(writer, samples);
  writer.commit();
  EXPECT_TRUE(read_samples(folder.path("s.h5"), SampleSource::kPairs).model.layers.empty());
}

/// What a file is refused with after `change` had its way with the facts that are written over its own.
class DamagedFacts : public ::testing::Test {
 protected:
  using Numbers = std::map<std::string, at::Tensor>;
  using Texts = std::map<std::string, std::vector<std::string>>;

  std::string refusal(const std::function<void(Numbers&, Texts&)>& change) {
    const testing::TemporaryFolder folder;
    const Samples samples = described_samples(four_kinds());
    ResultWriter first(folder.path("good.h5"), Provenance{}, false);
    write_samples(first, samples);
    first.commit();
    const ResultReader good(folder.path("good.h5"));
    Numbers numbers;
    Texts texts;
    const std::string group = "/samples/layers/";
    for (const std::string& name : good.datasets()) {
      if (name.rfind(group, 0) != 0) continue;
      if (good.is_string(name)) {
        texts[name.substr(group.size())] = good.read_strings(name);
      } else {
        numbers[name.substr(group.size())] = good.read(name);
      }
    }
    change(numbers, texts);
    Samples bare = samples;
    bare.model.layers.clear();
    ResultWriter writer(folder.path("s.h5"), Provenance{}, false);
    write_samples(writer, bare);
    for (const auto& [name, values] : numbers) writer.write(group + name, values);
    for (const auto& [name, values] : texts) writer.write(group + name, values);
    writer.commit();
    return testing::refusal_of([&] { read_samples(folder.path("s.h5"), SampleSource::kPairs); });
  }
  std::string with(const std::string& name, const at::Tensor& values) {
    return refusal([&](Numbers& numbers, Texts&) { numbers[name] = values; });
  }
  std::string with(const std::string& name, const std::vector<std::string>& values) {
    return refusal([&](Numbers&, Texts& texts) { texts[name] = values; });
  }
};

TEST_F(DamagedFacts, AreRefusedByName) {
  EXPECT_EQ(refusal([](Numbers&, Texts&) {}), "");
  EXPECT_THAT(refusal([](Numbers& numbers, Texts&) { numbers.erase("window"); }),
              HasSubstr("/samples/layers/window"));
  EXPECT_THAT(refusal([](Numbers&, Texts& texts) { texts.erase("kind"); }),
              HasSubstr("/samples/layers/kind"));
  EXPECT_THAT(with("kind", std::vector<std::string>{"full_attention"}), HasSubstr("[1], one entry a layer"));
  EXPECT_THAT(with("window", at::tensor({16, 0, 0}, at::kLong)), HasSubstr("/samples/layers/window"));
  EXPECT_THAT(with("window", at::tensor({-1, 0, 0, 0}, at::kLong)), HasSubstr("found -1"));
  EXPECT_THAT(with("rotates", at::tensor({2, 0, 1, 0}, at::kLong)), HasSubstr("/samples/layers/rotates"));
  EXPECT_THAT(with("rope_theta", at::tensor({NAN, NAN, 5000.0, NAN}, at::kDouble)),
              HasSubstr("rope_theta, layer 0"));
  EXPECT_THAT(with("rope_theta", at::tensor({200.0, NAN, 5000.0, NAN}, at::kDouble)),
              HasSubstr("inv_freq, layer 0"));
  EXPECT_THAT(with("rope_scaling", std::vector<std::string>{"{", "", "", ""}),
              HasSubstr("rope_scaling, layer 0"));
  EXPECT_THAT(with("rope_type", std::vector<std::string>{"linear", "", "yarn", ""}),
              HasSubstr("rope_type, layer 0"));
  EXPECT_THAT(with("pairs", std::vector<std::string>{"thirds", "half", "adjacent", "half"}),
              HasSubstr("half or adjacent"));
  EXPECT_THAT(with("rotary_dims", at::tensor({4, 2, 6, 0}, at::kLong)), HasSubstr("rotary_dims, layer 1"));
  EXPECT_THAT(with("rotary_dims", at::tensor({8, 0, 6, 0}, at::kLong)), HasSubstr("rotary_dims, layer 0"));
  EXPECT_THAT(with("inv_freq", at::ones({4, 3}, at::kDouble)), HasSubstr("inv_freq, layer 0"));
  EXPECT_THAT(with("inv_freq", at::ones({4}, at::kDouble)), HasSubstr("/samples/layers/inv_freq"));
  EXPECT_THAT(with("first_rotary", at::tensor({0, 0, 8, 0}, at::kLong)), HasSubstr("first_rotary, layer 2"));
  EXPECT_THAT(with("head_dim", at::tensor({8, 7, 8, 0}, at::kLong)), HasSubstr("head_dim, layer 1"));
  EXPECT_THAT(with("head_dim", at::tensor({8, 6, 8, 0}, at::kLong)),
              HasSubstr("layer 1: expected 6 channels"));
  EXPECT_THAT(with("has_qk", at::tensor({1, 0, 1, 0}, at::kLong)), HasSubstr("found layer 1"));
  EXPECT_THAT(with("score_scale", at::tensor({1.0, INFINITY, 1.0, 1.0}, at::kDouble)),
              HasSubstr("score_scale"));
}

TEST(LayerFacts, OneLayerMoreThanTheModelIsRefused) {
  const testing::TemporaryFolder folder;
  Samples samples = described_samples(four_kinds());
  samples.model.num_layers = 5;
  ResultWriter writer(folder.path("s.h5"), Provenance{}, false);
  write_samples(writer, samples);
  writer.commit();
  EXPECT_THAT(testing::refusal_of([&] { read_samples(folder.path("s.h5"), SampleSource::kPairs); }),
              HasSubstr("expected the 5 layers"));
}

TEST(LayerFacts, ALayerWithoutQueriesCannotBeSelected) {
  const testing::TemporaryFolder folder;
  ResultWriter writer(folder.path("s.h5"), Provenance{}, false);
  write_samples(writer, described_samples(four_kinds()));
  writer.commit();
  SampleSelection selection;
  selection.layers = {3};
  EXPECT_THROW(read_samples(folder.path("s.h5"), SampleSource::kPairs, selection), UsageError);
}

TEST(HalvesOrder, PutsPairsThatTurnFirst) {
  LayerFacts layer;
  layer.head_dim = 8;
  const auto order = [&](int64_t rotary_dim) { return halves_order(layer, rotary_dim); };
  EXPECT_TRUE(order(8).equal(at::tensor({0, 1, 2, 3, 4, 5, 6, 7}, at::kLong)));
  EXPECT_TRUE(order(4).equal(at::tensor({0, 1, 4, 5, 2, 3, 6, 7}, at::kLong)));
  layer.pairing = PairLayout::kAdjacent;
  EXPECT_TRUE(order(8).equal(at::tensor({0, 2, 4, 6, 1, 3, 5, 7}, at::kLong)));
  EXPECT_TRUE(order(4).equal(at::tensor({0, 2, 4, 5, 1, 3, 6, 7}, at::kLong)));
  layer.first_rotary = 2;
  EXPECT_TRUE(order(6).equal(at::tensor({2, 4, 6, 0, 3, 5, 7, 1}, at::kLong)));
  EXPECT_TRUE(order(0).equal(at::tensor({0, 1, 2, 3, 4, 5, 6, 7}, at::kLong)));
}

/// Layers 0 and 1 with heads of 8 channels, 2 with 16, 3 reads the keys of 1, 4 is a delta rule.
DecoderConfig mixed_config() {
  DecoderConfig config;
  config.model_type = "gemma4_text";
  config.num_hidden_layers = 5;
  config.num_attention_heads = 2;
  config.num_key_value_heads = 1;
  config.head_dim = 8;
  config.max_position_embeddings = 128;
  config.layers.resize(5);
  for (LayerShape& layer : config.layers) {
    layer.heads = 2;
    layer.kv_heads = 1;
    layer.head_dim = layer.value_dim = 8;
  }
  config.layers[2].head_dim = 16;
  config.layers[3].keys_of = 1;
  config.layers[4].mixer = Mixer::kDeltaRule;
  config.layers[4].kind = "linear_attention";
  config.layers[4].rope = kNoRope;
  return config;
}

TEST(LayersToSample, HaveQueriesAndKeysOfOneSize) {
  const DecoderConfig config = mixed_config();
  EXPECT_THAT(layers_to_sample(config, {}), ElementsAre(0, 1));
  EXPECT_THAT(layers_to_sample(config, {1}), ElementsAre(1));
  EXPECT_THAT(layers_to_sample(config, {2}), ElementsAre(2));
  const auto refusal = [&](const std::vector<int64_t>& asked) -> std::string {
    try {
      layers_to_sample(config, asked);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(refusal({0, 2}), HasSubstr("0-1 (heads of 8 channels) and 2 (heads of 16 channels)"));
  EXPECT_THAT(refusal({3}), HasSubstr("which reads those of layer 1"));
  EXPECT_THAT(refusal({0, 4}), HasSubstr("--layers"));
}

TEST(LayerFactsOfConfig, SayWhatEachLayerDoes) {
  const std::vector<LayerFacts> facts = layer_facts(mixed_config());
  EXPECT_TRUE(facts[0].has_qk && facts[0].rotates);
  EXPECT_EQ(facts[2].head_dim, 16);
  EXPECT_FALSE(facts[3].has_qk);
  EXPECT_FALSE(facts[4].has_qk || facts[4].rotates);
  EXPECT_TRUE(turn_alike(facts[0], facts[1]));
  EXPECT_FALSE(turn_alike(facts[0], facts[2]));
}

}  // namespace
}  // namespace ropescope
