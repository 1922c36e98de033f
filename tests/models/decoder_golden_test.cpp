// Parity with the golden activations; tolerances are those of tests/golden/language/README.md.
#include <gtest/gtest.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/tensor.h>

#include "ropescope/architectures/decoder_config.h"

#include "tests/models/tiny_models.h"
#include "tests/support/golden.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

constexpr double kActivations = 5e-5;
constexpr double kLogits = 1e-4;

class DecoderGolden : public ::testing::TestWithParam<TinyModel> {
 protected:
  Decoder decoder_ = load_tiny(GetParam().name, GetParam().form);
  std::map<std::string, at::Tensor> golden_ = tiny_tensors(GetParam().name);

  // Rows of real tokens only: what a padding query that sees nothing computes is ours to define.
  at::Tensor real(const at::Tensor& x, int64_t token_dimension) const {
    const at::Tensor mask = golden_.at("main.attention_mask").ne(0);
    std::vector<int64_t> shape(static_cast<size_t>(x.dim()), 1);
    shape[0] = mask.size(0);
    shape[static_cast<size_t>(token_dimension)] = mask.size(1);
    return x.masked_fill(mask.view(shape).logical_not(), 0.0);
  }
};

INSTANTIATE_TEST_SUITE_P(Tiny, DecoderGolden, ::testing::ValuesIn(tiny_models()), [](const auto& instance) {
  return instance.param.name == "llama-tiny" ? "Llama" : "Qwen2";
});

TEST_P(DecoderGolden, EveryActivationOfTheLeftPaddedBatch) {
  const Shown shown = run_and_show(decoder_, golden_.at("main.input_ids"), golden_.at("main.attention_mask"));
  EXPECT_TRUE(all_close(real(shown.output.logits, 1), real(golden_.at("main.logits"), 1), kLogits));
  const int64_t layers = decoder_.config.num_hidden_layers;
  ASSERT_EQ(shown.hidden.size(), static_cast<size_t>(layers + 1));
  for (int64_t l = 0; l < layers; ++l) {
    const std::string n = std::to_string(l);
    SCOPED_TRACE("layer " + n);
    EXPECT_TRUE(
        all_close(real(shown.hidden.at(l), 1), real(golden_.at("main.hidden." + n), 1), kActivations));
    EXPECT_TRUE(all_close(real(shown.q.at(l), 2), real(golden_.at("main.q_pre." + n), 2), kActivations));
    EXPECT_TRUE(all_close(real(shown.k.at(l), 2), real(golden_.at("main.k_pre." + n), 2), kActivations));
    EXPECT_TRUE(
        all_close(real(shown.q_rotated.at(l), 2), real(golden_.at("main.q_rope." + n), 2), kActivations));
    EXPECT_TRUE(
        all_close(real(shown.k_rotated.at(l), 2), real(golden_.at("main.k_rope." + n), 2), kActivations));
    EXPECT_TRUE(
        all_close(real(shown.attention.at(l), 2), real(golden_.at("main.attn." + n), 2), kActivations));
    // A query that sees no key: zero, not uniform and not NaN.
    EXPECT_EQ(shown.attention.at(l)[1].narrow(1, 0, 4).abs().max().item<double>(), 0.0);
  }
  // The reference's last hidden state comes after the final norm; ours are the layers' own outputs.
  EXPECT_TRUE(
      all_close(real(shown.hidden.at(layers), 1), real(golden_.at("main.last_layer_out"), 1), kActivations));
  EXPECT_TRUE(all_close(real(shown.output.final_hidden, 1),
                        real(golden_.at("main.hidden." + std::to_string(layers)), 1), kActivations));
}

TEST_P(DecoderGolden, BlindQueriesCanFollowTheReferenceToo) {
  const Shown shown = run_and_show(decoder_, golden_.at("main.input_ids"), golden_.at("main.attention_mask"),
                                   {}, BlindQuery::kMean);
  EXPECT_TRUE(all_close(shown.output.logits, golden_.at("main.logits"), kLogits));
  for (int64_t l = 0; l < decoder_.config.num_hidden_layers; ++l) {
    EXPECT_TRUE(all_close(shown.hidden.at(l), golden_.at("main.hidden." + std::to_string(l)), kActivations));
  }
}

TEST_P(DecoderGolden, RightPaddingAndNoPaddingGiveTheSameTokens) {
  const Shown right =
      run_and_show(decoder_, golden_.at("right.input_ids"), golden_.at("right.attention_mask"));
  EXPECT_TRUE(all_close(right.output.logits, golden_.at("right.logits"), kLogits));
  const Shown single = run_and_show(decoder_, golden_.at("single1.input_ids"));
  EXPECT_TRUE(all_close(single.output.logits, golden_.at("single1.logits"), kLogits));
}

TEST_P(DecoderGolden, RepeatedAndDecreasingPositionIds) {
  const at::Tensor ids = golden_.at("posid.input_ids"), positions = golden_.at("posid.position_ids");
  const Shown shown = run_and_show(decoder_, ids, {}, positions);
  EXPECT_TRUE(all_close(shown.output.logits, golden_.at("posid.logits"), kLogits));
  for (int64_t l = 0; l < decoder_.config.num_hidden_layers; ++l) {
    const std::string n = std::to_string(l);
    EXPECT_TRUE(all_close(shown.q_rotated.at(l), golden_.at("posid.q_rope." + n), kActivations));
    EXPECT_TRUE(all_close(shown.k_rotated.at(l), golden_.at("posid.k_rope." + n), kActivations));
  }
  // The cut at jumps that transformers makes by itself is far from this.
  EXPECT_FALSE(all_close(shown.output.logits, golden_.at("posid_packed_quirk.logits"), 0.1));
}

TEST_P(DecoderGolden, EveryContextScalingInEverySpelling) {
  const std::string folder = "language/" + GetParam().name + "/configs/";
  const Json expected = golden_json(folder + "expected_inv_freq.json");
  const at::Tensor prompt = golden_.at("posid.input_ids");
  for (const auto& [variant, values] : expected.items()) {
    for (const char* spelling : {"old", "mid", "new"}) {
      SCOPED_TRACE(variant + "." + spelling);
      const std::string file = folder + variant + "." + spelling + ".json";
      Decoder scaled = decoder_;
      scaled.config = parse_decoder_config(golden_json(file), file);
      const Frequencies frequencies = make_frequencies(scaled.config.rope(), scaled.config.head_dim,
                                                       scaled.config.max_position_embeddings, 12);
      const auto numbers = values.at("inv_freq").get<std::vector<double>>();
      EXPECT_TRUE(all_close(frequencies.inv_freq, at::tensor(numbers, at::kDouble), 0, 1e-6));
      EXPECT_NEAR(frequencies.attention_scale, values.at("attention_scaling").get<double>(), 1e-6);
      if (golden_.count("rope." + variant + ".logits") == 0) continue;
      const Shown shown = run_and_show(scaled, prompt);
      EXPECT_TRUE(all_close(shown.output.logits, golden_.at("rope." + variant + ".logits"), kLogits));
      EXPECT_TRUE(
          all_close(shown.q_rotated.at(0), golden_.at("rope." + variant + ".q_rope.0"), kActivations));
      EXPECT_TRUE(
          all_close(shown.k_rotated.at(0), golden_.at("rope." + variant + ".k_rope.0"), kActivations));
    }
  }
}

TEST_P(DecoderGolden, TokenLikelihoodsIncludePaddingRowsOnlyWhereDefined) {
  const at::Tensor ids = golden_.at("main.input_ids");
  const Shown shown = run_and_show(decoder_, ids, golden_.at("main.attention_mask"));
  const at::Tensor nll = at::log_softmax(shown.output.logits, -1)
                             .narrow(1, 0, 11)
                             .gather(2, ids.narrow(1, 1, 11).unsqueeze(2))
                             .squeeze(2)
                             .neg();
  EXPECT_TRUE(all_close(nll[0], golden_.at("main.token_nll")[0], kLogits));
  EXPECT_TRUE(all_close(nll[1].narrow(0, 4, 7), golden_.at("main.token_nll")[1].narrow(0, 4, 7), kLogits));
}

// The same numbers on disk in many forms: after widening they give the same logits.
TEST_P(DecoderGolden, EveryFormOfTheCheckpointGivesTheSameLogits) {
  const std::vector<std::string> forms =
      GetParam().name == "llama-tiny"
          ? std::vector<std::string>{"safetensors-sharded-bf16", "bin-fp16", "bin-sharded-bf16"}
          : std::vector<std::string>{"safetensors-sharded-bf16-tied", "bin-fp16-tied"};
  const Shown first = run_and_show(decoder_, golden_.at("right.input_ids"));
  for (const std::string& form : forms) {
    SCOPED_TRACE(form);
    const Shown shown = run_and_show(load_tiny(GetParam().name, form), golden_.at("right.input_ids"));
    EXPECT_TRUE(at::equal(shown.output.logits, first.output.logits));
  }
}

TEST_P(DecoderGolden, GgufLogitsWithDequantisedWeights) {
  const std::string folder = "language/" + GetParam().name + "/gguf/";
  for (const auto& [name, logits] : golden_tensors(folder + "expected_logits.safetensors")) {
    const std::string type = name.substr(0, name.find('.'));
    SCOPED_TRACE(type);
    const Decoder decoder = load_tiny(GetParam().name, "gguf/" + GetParam().name + "-" + type + ".gguf");
    const Shown shown =
        run_and_show(decoder, golden_.at("main.input_ids"), golden_.at("main.attention_mask"));
    EXPECT_TRUE(all_close(real(shown.output.logits, 1), real(logits, 1), kLogits));
  }
}

TEST(Qwen2Untied, AnOutputMatrixOfItsOwnIsUsed) {
  const Decoder decoder = load_tiny("qwen2-tiny", "safetensors-bf16-untied");
  const auto golden = tiny_tensors("qwen2-tiny");
  const at::Tensor expected =
      golden_tensors("language/qwen2-tiny/safetensors-bf16-untied/expected_logits.safetensors")
          .begin()
          ->second;
  const Shown shown = run_and_show(decoder, golden.at("main.input_ids"), golden.at("main.attention_mask"));
  EXPECT_TRUE(all_close(shown.output.logits[0], expected[0], kLogits));
  EXPECT_TRUE(all_close(shown.output.logits[1].narrow(0, 4, 8), expected[1].narrow(0, 4, 8), kLogits));
}

}  // namespace
}  // namespace ropescope
