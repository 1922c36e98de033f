// What the decoder promises beyond the golden numbers: packing, early stops, types, errors.
#include "ropescope/models/decoder.h"

#include <gtest/gtest.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/models/attention.h"

#include "tests/models/tiny_models.h"
#include "tests/support/golden.h"
#include "tests/support/refusal.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

class DecoderPasses : public ::testing::TestWithParam<TinyModel> {
 protected:
  Decoder decoder_ = load_tiny(GetParam().name, GetParam().form);
  /// Twelve tokens and their plain positions.
  ForwardInput twelve_tokens() const {
    ForwardInput input;
    input.input_ids = golden_.at("posid.input_ids");
    input.rotary = &twelve_;
    return input;
  }

  std::map<std::string, at::Tensor> golden_ = tiny_tensors(GetParam().name);
  RotaryTable twelve_ = plain_rotary_table(decoder_.config, 12);
  at::NoGradGuard no_grad_;
};

INSTANTIATE_TEST_SUITE_P(Tiny, DecoderPasses, ::testing::ValuesIn(tiny_models()), [](const auto& instance) {
  return instance.param.name == "llama-tiny" ? "Llama" : "Qwen2";
});

TEST_P(DecoderPasses, PackedTextsDoNotSeeEachOther) {
  const at::Tensor first = golden_.at("posid.input_ids"), second = golden_.at("single1.input_ids");
  const std::vector<int64_t> lengths = {12, 8, 1};
  const RotaryTable rotary = packed_rotary_table(decoder_.config, lengths);
  ForwardInput input;
  input.input_ids = at::cat({first, second, second.narrow(1, 0, 1)}, 1);
  input.segment_lengths = lengths;
  input.rotary = &rotary;
  Taps taps;
  std::map<int64_t, at::Tensor> rows;
  taps.attention =
      AttentionRows{{11, 12, 19, 20}, [&](int64_t layer, const at::Tensor& r) { rows[layer] = r.clone(); }};
  const at::Tensor logits = forward(decoder_, input, {}, taps).logits;
  const Shown one = run_and_show(decoder_, first), two = run_and_show(decoder_, second);
  EXPECT_TRUE(all_close(logits.narrow(1, 0, 12), one.output.logits, 2e-5));
  EXPECT_TRUE(all_close(logits.narrow(1, 12, 8), two.output.logits, 2e-5));
  EXPECT_TRUE(all_close(logits[0][20], two.output.logits[0][0], 2e-5));
  EXPECT_TRUE(all_close(rows.at(1).select(2, 2).narrow(2, 12, 8), two.attention.at(1).select(2, 7), 1e-5));
  EXPECT_EQ(rows.at(1).select(2, 2).narrow(2, 0, 12).abs().max().item<double>(), 0.0);
  EXPECT_EQ(rows.at(1).select(2, 3).select(2, 20).min().item<float>(), 1.0f);
}

TEST_P(DecoderPasses, AutogradAndFusedPathsAgree) {
  const at::Tensor ids = golden_.at("main.input_ids");
  const Shown fused = run_and_show(decoder_, ids, golden_.at("right.attention_mask"));
  const RotaryTable rotary = plain_rotary_table(decoder_.config, 12);
  ForwardInput input;
  input.input_ids = ids;
  input.attention_mask = golden_.at("right.attention_mask");
  input.rotary = &rotary;
  const at::AutoGradMode with_autograd(true);
  EXPECT_TRUE(all_close(forward(decoder_, input).logits, fused.output.logits, 5e-5));
}

TEST_P(DecoderPasses, StoppingEarlyShowsTheSameVectorsAndNothingElse) {
  const at::Tensor ids = golden_.at("posid.input_ids");
  const Shown whole = run_and_show(decoder_, ids);
  const ForwardInput input = twelve_tokens();
  ForwardOptions options;
  options.stop_after_qk_of_layer = 1;
  Taps taps;
  std::vector<int64_t> seen;
  taps.wants_layer = [](int64_t layer) { return layer == 1; };
  taps.qk = [&](int64_t layer, const at::Tensor& q, const at::Tensor& k) {
    seen.push_back(layer);
    EXPECT_TRUE(at::equal(q, whole.q.at(1)));
    EXPECT_TRUE(at::equal(k, whole.k.at(1)));
  };
  const ForwardOutput output = forward(decoder_, input, options, taps);
  EXPECT_EQ(seen, std::vector<int64_t>{1});
  EXPECT_FALSE(output.logits.defined());
  EXPECT_FALSE(output.final_hidden.defined());
}

TEST_P(DecoderPasses, AttentionRowsOfAnEarlyLayerCostNoLaterOne) {
  const at::Tensor ids = golden_.at("posid.input_ids");
  const Shown whole = run_and_show(decoder_, ids);
  ForwardInput input = twelve_tokens();
  ForwardOptions options;
  options.stop_after_rows_of_layer = 0;
  Taps taps;
  std::vector<int64_t> shown, depths;
  taps.hidden = [&](int64_t depth, const at::Tensor&) { depths.push_back(depth); };
  taps.attention =
      AttentionRows{{3, 11}, [&](int64_t layer, const at::Tensor& rows) {
                      shown.push_back(layer);
                      EXPECT_TRUE(all_close(rows.select(2, 1), whole.attention.at(0).select(2, 11), 1e-6));
                    }};
  const ForwardOutput output = forward(decoder_, input, options, taps);
  EXPECT_EQ(shown, std::vector<int64_t>{0});
  EXPECT_EQ(depths, std::vector<int64_t>{0});  // the embeddings: not even layer 0 was finished
  EXPECT_FALSE(output.logits.defined());
  KvCache cache;
  input.cache = &cache;
  EXPECT_THROW(forward(decoder_, input, options, taps), InternalError);
  input.cache = nullptr;
  options.stop_after_rows_of_layer = decoder_.config.num_hidden_layers;
  EXPECT_THROW(forward(decoder_, input, options, taps), InternalError);
}

TEST_P(DecoderPasses, LastLogitsAreThoseOfTheWholePass) {
  const at::Tensor ids = golden_.at("posid.input_ids");
  const ForwardInput input = twelve_tokens();
  ForwardOptions options;
  options.logits = ForwardOptions::Logits::kLast;
  options.final_hidden = false;
  const ForwardOutput output = forward(decoder_, input, options);
  EXPECT_TRUE(all_close(output.logits[0][0], run_and_show(decoder_, ids).output.logits[0][11], 2e-5));
  EXPECT_FALSE(output.final_hidden.defined());
}

TEST_P(DecoderPasses, EmbeddingsCanComeInPlaceOfIdsAndAreNotWritten) {
  const at::Tensor ids = golden_.at("posid.input_ids");
  const Shown whole = run_and_show(decoder_, ids);
  const RotaryTable rotary = plain_rotary_table(decoder_.config, 12);
  ForwardInput input;
  input.inputs_embeds = whole.hidden.at(0).clone();
  input.rotary = &rotary;
  EXPECT_TRUE(at::equal(forward(decoder_, input).logits, whole.output.logits));
  EXPECT_TRUE(at::equal(input.inputs_embeds, whole.hidden.at(0)));
}

TEST_P(DecoderPasses, HalfTypesFollowFloat32) {
  const at::Tensor ids = golden_.at("right.input_ids"), mask = golden_.at("right.attention_mask");
  // Logits have a spread of 2; bfloat16 keeps 8 bits, and three layers add their roundings up.
  for (const auto& [type, tolerance] :
       std::vector<std::pair<at::ScalarType, double>>{{at::kBFloat16, 0.5}, {at::kHalf, 0.05}}) {
    const Decoder half = load_tiny(GetParam().name, GetParam().form, type);
    const Shown shown = run_and_show(half, ids, mask);
    EXPECT_EQ(shown.output.logits.scalar_type(), at::kFloat);
    EXPECT_EQ(shown.q_rotated.at(0).scalar_type(), type);
    EXPECT_TRUE(all_close(shown.output.logits, golden_.at("right.logits"), tolerance));
  }
}

TEST_P(DecoderPasses, IdsOutsideTheVocabularyAreNamed) {
  const std::string message = refusal_of([&] {
    run_and_show(decoder_, at::tensor({1, 352}, at::kLong).view({1, 2}));
  });
  EXPECT_NE(message.find("352"), std::string::npos) << message;
  EXPECT_THROW(run_and_show(decoder_, at::tensor({1, -1}, at::kLong).view({1, 2})), InputError);
  EXPECT_THROW(
      run_and_show(decoder_, at::tensor({1, 2}, at::kLong).view({1, 2}), at::ones({1, 3}, at::kLong)),
      InputError);
}

// A checkpoint in memory, to take tensors away from and to bend.
class FakeCheckpoint : public Checkpoint {
 public:
  explicit FakeCheckpoint(std::vector<TensorInfo> infos) : infos_(std::move(infos)) {}
  const std::vector<TensorInfo>& tensors() const override { return infos_; }
  at::Tensor take(const std::string& name, at::ScalarType dtype) const override {
    return at::ones(find(name)->shape, dtype);
  }
  std::string container() const override { return "fake"; }
  std::vector<std::filesystem::path> files() const override { return {}; }

 private:
  std::vector<TensorInfo> infos_;
};

std::string refusal(const std::vector<TensorInfo>& infos, const DecoderConfig& config) {
  return refusal_of([&] { load_decoder(FakeCheckpoint(infos), config, {}); });
}

TEST(LoadDecoder, MissingAndMisshapenTensorsAreReportedByName) {
  const std::string path = golden_path("language/llama-tiny/safetensors-fp32");
  const DecoderConfig config = read_decoder_config(path);
  const std::vector<TensorInfo> all = open_checkpoint(path)->tensors();
  EXPECT_EQ(refusal(all, config), "");
  std::vector<TensorInfo> fewer;
  for (const TensorInfo& info : all) {
    if (info.name != "model.layers.1.mlp.up_proj.weight") fewer.push_back(info);
  }
  EXPECT_NE(refusal(fewer, config).find("model.layers.1.mlp.up_proj.weight"), std::string::npos);
  std::vector<TensorInfo> bent = all;
  for (TensorInfo& info : bent) {
    if (info.name == "model.layers.2.self_attn.k_proj.weight") info.shape = {32, 64};
  }
  const std::string message = refusal(bent, config);
  EXPECT_NE(message.find("k_proj.weight: expected [64, 64], found [32, 64]"), std::string::npos) << message;
}

TEST(LoadDecoder, TheOutputMatrixCanBeLeftOut) {
  const std::string path = golden_path("language/llama-tiny/safetensors-fp32");
  LoadOptions options;
  options.with_lm_head = false;
  const Decoder decoder = load_decoder(*open_checkpoint(path), read_decoder_config(path), options);
  EXPECT_FALSE(decoder.weights.lm_head.defined());
  const RotaryTable rotary = plain_rotary_table(decoder.config, 2);
  ForwardInput input;
  input.input_ids = at::tensor({1, 2}, at::kLong).view({1, 2});
  input.rotary = &rotary;
  EXPECT_THROW(forward(decoder, input), InternalError);
}

}  // namespace
}  // namespace ropescope
