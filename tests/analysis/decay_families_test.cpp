// Curves of single pairs of every decoder family: at its own distance a pair's is the logit that the model sees.
#include <cctype>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include <ATen/ops/tensor.h>

#include "ropescope/analysis/decay.h"
#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/probe/sampler.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

class FamilyDecay : public ::testing::TestWithParam<std::string> {};

TEST_P(FamilyDecay, AtThePairsDistanceIsTheLogit) {
  const std::string folder = "architectures/" + GetParam();
  const auto tensors = testing::golden_tensors(folder + "/expected.safetensors");
  const std::string path = testing::golden_path(folder);
  const std::shared_ptr<const Checkpoint> checkpoint = open_checkpoint(path);
  const Decoder decoder = load_decoder(checkpoint, read_decoder_config(path), {});
  TextSet texts;
  texts.texts.emplace_back();
  texts.texts.front().ids =
      testing::golden_json(folder + "/expected.json")["input_ids"].get<std::vector<int64_t>>();

  constexpr int64_t kQuery = 41, kKey = 12, kHead = 1;
  SampleOptions options;
  options.picks.emplace();
  const std::vector<int64_t> layers = layers_to_sample(decoder.config, {});
  for (const int64_t layer : layers) {
    options.picks->picks.push_back({0, layer, kHead, kQuery, kKey});
    options.picks->lines.push_back(layer + 2);
  }
  const Samples samples = sample_texts(decoder, texts, options);
  DecayOptions of_decay;
  of_decay.distance = at::tensor({kQuery - kKey}, at::kLong);
  const DecayResult result = compute_decay({samples}, of_decay);
  for (const int64_t layer : layers) {
    const at::Tensor& q = tensors.at("q_rotated." + std::to_string(layer));
    const at::Tensor& k = tensors.at("k_rotated." + std::to_string(layer));
    const double logit = q[kHead][kQuery].dot(k[kHead * k.size(0) / q.size(0)][kKey]).item<double>();
    EXPECT_NEAR(result.by_head[0][layer][kHead][0].item<double>(), logit, 2e-3 + 1e-4 * std::abs(logit))
        << layer;
  }
}

// Without those that change q and k once more after the rotation (llama4, ministral3), and without phi3-short, whose golden
// run is shorter than the context that our curves are of.
INSTANTIATE_TEST_SUITE_P(All, FamilyDecay,
                         ::testing::Values("cohere2", "deepseek_v3", "gemma2", "gemma3_text", "gemma4_text-e",
                                           "gemma4_text-moe", "glm4", "gpt_oss", "granite", "mistral-window",
                                           "olmo2", "olmo3", "phi3-long", "qwen3", "qwen3_5_text",
                                           "qwen3_moe", "smollm3"),
                         [](const auto& entry) {
                           std::string name = entry.param;
                           for (char& c : name)
                             c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
                           return name;
                         });

}  // namespace
}  // namespace ropescope
