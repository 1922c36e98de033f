// Every decoder family against the activations of its public implementation (tests/golden/architectures), at the
// tolerances stated there; with and without a cache, packed, under schemes, with gradients.
#include <gtest/gtest.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include "ropescope/architectures/architecture.h"
#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/models/generate.h"
#include "ropescope/models/tensor_slots.h"

#include "tests/models/tiny_models.h"
#include "tests/support/golden.h"
#include "tests/support/golden_families.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

constexpr double kQk = 3e-4, kAttention = 5e-5, kHidden = 1e-3, kFinalHidden = 2e-4, kFamilyLogits = 5e-4;

std::string folder_of(const std::string& name) { return "architectures/" + name; }

Decoder load_family(const std::string& name) {
  const std::string path = golden_path(folder_of(name));
  return load_decoder(open_checkpoint(path), read_decoder_config(path), {});
}

class Family : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    decoder_ = load_family(GetParam());
    golden_ = golden_tensors(folder_of(GetParam()) + "/expected.safetensors");
    ids_ = golden_.at("input_ids").to(at::kLong).unsqueeze(0);
  }

  const at::Tensor* find(const std::string& name) const {
    const auto found = golden_.find(name);
    return found == golden_.end() ? nullptr : &found->second;
  }

  at::Tensor logits_in_pieces(const std::vector<int64_t>& pieces) const {
    const at::NoGradGuard no_grad;
    KvCache cache;
    std::vector<at::Tensor> logits;
    int64_t first = 0;
    for (const int64_t count : pieces) {
      const at::Tensor positions = at::arange(first, first + count, at::kDouble).view({1, 1, count});
      const PassEncoding encoding =
          encoding_for(decoder_.config, positions, static_cast<double>(ids_.size(1)));
      ForwardInput input;
      input.input_ids = ids_.narrow(1, first, count);
      input.encoding = &encoding;
      input.cache = &cache;
      logits.push_back(forward(decoder_, input).logits);
      first += count;
    }
    EXPECT_EQ(cache.length(), first);
    for (int64_t l = 0; l < decoder_.config.num_hidden_layers; ++l) {
      const LayerShape& layer = decoder_.config.layer(l);
      if (layer.window == 0 || layer.keys_of >= 0) continue;
      EXPECT_LT(cache.keys[static_cast<size_t>(l)].size(2), layer.window) << "layer " << l;
    }
    return at::cat(logits, 1);
  }

  Decoder decoder_;
  std::map<std::string, at::Tensor> golden_;
  at::Tensor ids_;
};

INSTANTIATE_TEST_SUITE_P(Golden, Family, ::testing::ValuesIn(golden_families()), family_test_name);

TEST_P(Family, EveryActivation) {
  const Shown shown = run_and_show(decoder_, ids_);
  const int64_t layers = decoder_.config.num_hidden_layers, last = ids_.size(1) - 1;
  for (int64_t l = 0; l <= layers; ++l) {
    SCOPED_TRACE("hidden " + std::to_string(l));
    EXPECT_TRUE(all_close(shown.hidden.at(l)[0], golden_.at("hidden." + std::to_string(l)), kHidden));
  }
  for (int64_t l = 0; l < layers; ++l) {
    const std::string n = std::to_string(l);
    SCOPED_TRACE("layer " + n);
    EXPECT_EQ(decoder_.shows_qk(l), find("q." + n) != nullptr);
    if (!decoder_.shows_qk(l)) continue;
    EXPECT_TRUE(all_close(shown.q.at(l)[0], golden_.at("q." + n), kQk));
    EXPECT_EQ(shown.k.count(l) == 1, find("k." + n) != nullptr);
    if (const at::Tensor* k = find("k." + n)) {
      EXPECT_TRUE(all_close(shown.k.at(l)[0], *k, kQk));
    }
    EXPECT_TRUE(all_close(shown.q_rotated.at(l)[0], golden_.at("q_rotated." + n), kQk));
    EXPECT_TRUE(all_close(shown.k_rotated.at(l)[0], golden_.at("k_rotated." + n), kQk));
    EXPECT_TRUE(
        all_close(shown.attention.at(l)[0].select(1, last), golden_.at("attention_last." + n), kAttention));
  }
  EXPECT_TRUE(all_close(shown.output.final_hidden[0], golden_.at("final_hidden"), kFinalHidden));
  EXPECT_TRUE(all_close(shown.output.logits[0], golden_.at("logits"), kFamilyLogits));
}

TEST_P(Family, OldSpellingOfTheConfigGivesTheSameLogits) {
  const std::string file = folder_of(GetParam()) + "/config.old.json";
  decoder_.config = parse_decoder_config(golden_json(file), file);
  const Shown shown = run_and_show(decoder_, ids_);
  EXPECT_TRUE(all_close(shown.output.logits[0], golden_.at("logits"), kFamilyLogits));
}

TEST_P(Family, ContinuesGreedily) {
  const auto expected =
      golden_json(folder_of(GetParam()) + "/expected.json").at("greedy").get<std::vector<int64_t>>();
  GenerateOptions options;
  options.max_new_tokens = static_cast<int64_t>(expected.size());
  options.ignore_end = true;
  GenerateInput input;
  input.input_ids = ids_;
  const at::Tensor generated = generate(decoder_, input, options).ids;
  EXPECT_TRUE(generated[0].equal(at::tensor(expected, at::kLong)));
}

TEST_P(Family, PiecesWithACacheAreTheWholePass) {
  const int64_t tokens = ids_.size(1);
  EXPECT_TRUE(
      all_close(logits_in_pieces({7, 1, 1, 20, tokens - 29})[0], golden_.at("logits"), kFamilyLogits));
}

TEST_P(Family, PackedTextsDoNotSeeEachOther) {
  const at::NoGradGuard no_grad;
  const int64_t first = 19, second = ids_.size(1) - first;
  const auto positions = [](int64_t count) { return at::arange(count, at::kDouble); };
  const at::Tensor both = at::cat({positions(first), positions(second)}).view({1, 1, -1});
  const PassEncoding packed = encoding_for(decoder_.config, both);
  ForwardInput input;
  input.input_ids = ids_;
  input.segment_lengths = {first, second};
  input.encoding = &packed;
  const at::Tensor together = forward(decoder_, input).logits;
  // What depends on a run's length (longrope) takes the longest.
  const PassEncoding alone = encoding_for(decoder_.config, positions(second).view({1, 1, -1}));
  ForwardInput single;
  single.input_ids = ids_.narrow(1, first, second);
  single.encoding = &alone;
  EXPECT_TRUE(all_close(together.narrow(1, first, second), forward(decoder_, single).logits, kFamilyLogits));
}

TEST_P(Family, AVanillaSchemeIsTheCheckpointsOwnEncodingOfText) {
  const at::NoGradGuard no_grad;
  Segment text;
  text.text = ids_.size(1);
  const SequenceEncoding encoding(Scheme("vanilla"), Layout{"text", {text}}, encoded_model(decoder_.config));
  const PassEncoding pass = encoding.pass(0, ids_.size(1));
  ForwardInput input;
  input.input_ids = ids_;
  input.encoding = &pass;
  EXPECT_TRUE(all_close(forward(decoder_, input).logits[0], golden_.at("logits"), kFamilyLogits));
}

TEST_P(Family, GradientsReachEveryWeightAlsoOfLayersThatAreComputedTwice) {
  if (!is_trainable(decoder_.config)) GTEST_SKIP() << "not trained";
  const auto gradients = [&](bool twice) {
    Decoder decoder = decoder_;
    std::map<std::string, at::Tensor> leaves;
    for (const TensorSlot& slot : decoder_slots(decoder.config, /*with_lm_head=*/true, decoder.weights)) {
      *slot.target = slot.target->detach().clone().set_requires_grad(true);
      leaves[slot.name] = *slot.target;
    }
    if (decoder.config.tie_word_embeddings) decoder.weights.lm_head = decoder.weights.embed_tokens;
    const PassEncoding encoding = plain_encoding(decoder.config, ids_.size(1));
    ForwardInput input;
    input.input_ids = ids_;
    input.encoding = &encoding;
    ForwardOptions options;
    options.checkpoint_layers = twice;
    causal_lm_loss(forward(decoder, input, options).logits, ids_).backward();
    return leaves;
  };
  const auto once = gradients(false);
  const bool alone = decoder_.config.layer_input_dim == 0;  // layers that need nothing but the layer before
  if (!alone) {
    EXPECT_THROW(gradients(true), InputError);
  }
  const auto twice = alone ? gradients(true) : once;
  for (const auto& [name, leaf] : once) {
    SCOPED_TRACE(name);
    ASSERT_TRUE(leaf.grad().defined());
    EXPECT_GT(leaf.grad().abs().max().item<double>(), 0);
    EXPECT_TRUE(all_close(twice.at(name).grad(), leaf.grad(), 1e-5, 1e-4));
  }
}

class FamilyInGguf : public ::testing::TestWithParam<std::string> {};

// (Those whose files say all that the configuration says.)
INSTANTIATE_TEST_SUITE_P(Golden, FamilyInGguf,
                         ::testing::Values("cohere2", "deepseek_v3", "gemma4_text-e", "gemma4_text-moe",
                                           "glm4", "granite", "ministral3", "olmo2", "olmo3", "qwen3",
                                           "qwen3_5_text", "qwen3_moe", "smollm3"),
                         family_test_name);

TEST_P(FamilyInGguf, GivesTheSameLogits) {
  const std::string path = golden_path("architectures/gguf/" + GetParam() + "-F16.gguf");
  const Decoder decoder = load_decoder(open_checkpoint(path), read_decoder_config(path), {});
  const auto golden = golden_tensors(folder_of(GetParam()) + "/expected.safetensors");
  const Shown shown = run_and_show(decoder, golden.at("input_ids").to(at::kLong).unsqueeze(0));
  EXPECT_TRUE(all_close(shown.output.logits[0], golden.at("logits"), kFamilyLogits));
}

}  // namespace
}  // namespace ropescope
