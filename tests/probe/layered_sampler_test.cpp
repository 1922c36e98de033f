// Samples of every decoder family, against the golden activations: what is sampled, what the file says of each layer, and
// the curve of a single pair, which at its own distance is the logit that the model sees.
#include <cctype>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <ATen/ops/tensor.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/probe/sampler.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using testing::all_close;

class FamilySamples : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    folder_ = "architectures/" + GetParam();
    expected_ = testing::golden_json(folder_ + "/expected.json");
    tensors_ = testing::golden_tensors(folder_ + "/expected.safetensors");
    const std::string path = testing::golden_path(folder_);
    const std::shared_ptr<const Checkpoint> checkpoint = open_checkpoint(path);
    decoder_ = load_decoder(checkpoint, read_decoder_config(path), {});
    texts_.texts.emplace_back();
    texts_.texts.front().name = "golden";
    texts_.texts.front().ids = expected_["input_ids"].get<std::vector<int64_t>>();
  }
  const at::Tensor& tensor(const std::string& name, int64_t layer) const {
    return tensors_.at(name + "." + std::to_string(layer));
  }

  std::string folder_;
  Json expected_;
  std::map<std::string, at::Tensor> tensors_;
  Decoder decoder_;
  TextSet texts_;
};

TEST_P(FamilySamples, HoldTheVectorsBeforeRotation) {
  SampleOptions options;
  options.moments = true;
  const Samples samples = sample_texts(decoder_, texts_, options);
  ASSERT_GT(samples.pairs.size(), 0);
  for (int64_t i = 0; i < samples.pairs.size(); ++i) {
    const auto at_row = [&](const at::Tensor& column) { return column[i].item<int64_t>(); };
    const int64_t layer = at_row(samples.pairs.layer), head = at_row(samples.pairs.head);
    const at::Tensor &q = tensor("q", layer), &k = tensor("k", layer);
    EXPECT_TRUE(all_close(samples.pairs.q[i], q[head][at_row(samples.pairs.query)], 3e-4));
    EXPECT_TRUE(
        all_close(samples.pairs.k[i], k[head * k.size(0) / q.size(0)][at_row(samples.pairs.key)], 3e-4));
  }
  for (int64_t l = 0; l < samples.model.num_layers; ++l) {
    if (samples.moments->count[l][0].item<int64_t>() == 0) continue;
    const at::Tensor k = tensor("k", l), spread = k.repeat_interleave(tensor("q", l).size(0) / k.size(0), 0);
    EXPECT_TRUE(all_close(samples.moments->mean_k[l], spread.mean(1).to(at::kDouble), 3e-4));
    EXPECT_TRUE(all_close(samples.moments->mean_q[l], tensor("q", l).mean(1).to(at::kDouble), 3e-4));
  }
}

TEST_P(FamilySamples, SayWhatEachLayerDoes) {
  const ModelFacts facts = model_facts(decoder_.config);
  ASSERT_EQ(facts.layers.size(), expected_["layers"].size());
  for (size_t l = 0; l < facts.layers.size(); ++l) {
    SCOPED_TRACE(l);
    const Json& expected = expected_["layers"][l];
    const LayerFacts& layer = facts.layers[l];
    EXPECT_EQ(layer.kind, expected["kind"].get<std::string>());
    EXPECT_EQ(layer.rotates, expected["rotates"].get<bool>());
    EXPECT_EQ(layer.has_qk, tensors_.count("k." + std::to_string(l)) > 0);
    const auto tokens = [&](const char* key) {
      return json_find(expected, key) ? expected[key].get<int64_t>() : 0;
    };
    EXPECT_EQ(layer.window, tokens("window"));
    EXPECT_EQ(layer.chunk, tokens("chunk"));
    if (expected.contains("scaling")) {
      EXPECT_NEAR(layer.score_scale, expected["scaling"].get<double>(), 1e-12);
    }
    if (!layer.rotates) continue;
    EXPECT_EQ(layer.rope.theta, expected["theta"].get<double>());
    EXPECT_EQ(rope_type_name(layer.rope.type), expected["rope_type"].get<std::string>());
    const Frequencies frequencies = layer_frequencies(layer, facts.max_position_embeddings);
    EXPECT_EQ(2 * frequencies.inv_freq.size(0), expected["rotary_dims"].get<int64_t>());
    EXPECT_NEAR(frequencies.attention_scale, expected["attention_factor"].get<double>(), 1e-6);
    // Ours are those of a run as long as the context; the golden run of phi3-short is shorter than that.
    if (GetParam() == "phi3-short") continue;
    const at::Tensor inv_freq = at::tensor(expected["inv_freq"].get<std::vector<double>>(), at::kDouble);
    EXPECT_TRUE(all_close(frequencies.inv_freq, inv_freq, 1e-30, 1e-6));
  }
}

/// Those whose q and k meet as the rotation leaves them: no norm and no scale by position follows.
class FamilyProfiles : public FamilySamples {};

TEST_P(FamilyProfiles, AreThoseOfTheLogitsThatTheModelSees) {
  SampleOptions options;
  options.draw.pairs = 0;
  options.profile = true;
  const Samples samples = sample_texts(decoder_, texts_, options);
  for (int64_t l = 0; l < samples.model.num_layers; ++l) {
    if (samples.profile->mean[l].isnan().all().item<bool>()) continue;
    SCOPED_TRACE(l);
    const at::Tensor q = tensor("q_rotated", l).to(at::kDouble), k = tensor("k_rotated", l).to(at::kDouble);
    const at::Tensor logits = q.matmul(k.repeat_interleave(q.size(0) / k.size(0), 0).transpose(1, 2));
    for (const int64_t m : {0, 1, 17, 40}) {
      EXPECT_TRUE(all_close(samples.profile->mean.select(0, l).select(1, m),
                            logits.diagonal(-m, 1, 2).mean(-1), 5e-3, 1e-4));
    }
  }
}

std::string name_of_family(const ::testing::TestParamInfo<std::string>& entry) {
  std::string name = entry.param;
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return name;
}

const std::vector<std::string> kRotatedFamilies = {
    "cohere2",   "deepseek_v3", "gemma2",  "gemma3_text",    "gemma4_text-e", "gemma4_text-moe",
    "glm4",      "gpt_oss",     "granite", "mistral-window", "olmo2",         "olmo3",
    "phi3-long", "phi3-short",  "qwen3",   "qwen3_5_text",   "qwen3_moe",     "smollm3"};

INSTANTIATE_TEST_SUITE_P(Rotated, FamilySamples, ::testing::ValuesIn(kRotatedFamilies), name_of_family);
INSTANTIATE_TEST_SUITE_P(ChangedAfterwards, FamilySamples, ::testing::Values("llama4_text", "ministral3"),
                         name_of_family);
INSTANTIATE_TEST_SUITE_P(Rotated, FamilyProfiles, ::testing::ValuesIn(kRotatedFamilies), name_of_family);

}  // namespace
}  // namespace ropescope
