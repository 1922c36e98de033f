#include <gtest/gtest.h>

#include <ATen/ops/cat.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/autograd.h"
#include "ropescope/core/errors.h"

#include "tests/models/tiny_models.h"
#include "tests/support/golden.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

// Parameters by their Hugging Face names, ready to differentiate.
std::map<std::string, at::Tensor> trainable(Decoder& decoder) {
  std::map<std::string, at::Tensor> parameters;
  const auto add = [&](const std::string& name, at::Tensor& weight) {
    if (!weight.defined()) return;
    weight = weight.clone().requires_grad_(true);
    parameters[name] = weight;
  };
  const bool tied = decoder.config.tie_word_embeddings;
  add("model.embed_tokens.weight", decoder.weights.embed_tokens);
  if (tied) {
    decoder.weights.lm_head = decoder.weights.embed_tokens;
  } else {
    add("lm_head.weight", decoder.weights.lm_head);
  }
  add("model.norm.weight", decoder.weights.norm);
  for (size_t l = 0; l < decoder.weights.layers.size(); ++l) {
    DecoderLayerWeights& layer = decoder.weights.layers[l];
    const std::string base = "model.layers." + std::to_string(l) + ".";
    add(base + "input_layernorm.weight", layer.input_norm);
    add(base + "post_attention_layernorm.weight", layer.mlp_norm);
    add(base + "self_attn.q_proj.weight", layer.q);
    add(base + "self_attn.k_proj.weight", layer.k);
    add(base + "self_attn.v_proj.weight", layer.v);
    add(base + "self_attn.o_proj.weight", layer.o);
    add(base + "self_attn.q_proj.bias", layer.q_bias);
    add(base + "self_attn.k_proj.bias", layer.k_bias);
    add(base + "self_attn.v_proj.bias", layer.v_bias);
    add(base + "mlp.gate_proj.weight", layer.gate);
    add(base + "mlp.up_proj.weight", layer.up);
    add(base + "mlp.down_proj.weight", layer.down);
  }
  return parameters;
}

class Gradients : public ::testing::TestWithParam<TinyModel> {};

INSTANTIATE_TEST_SUITE_P(Tiny, Gradients, ::testing::ValuesIn(tiny_models()), [](const auto& instance) {
  return instance.param.name == "llama-tiny" ? "Llama" : "Qwen2";
});

TEST_P(Gradients, LossNormsAndStoredGradientsEqualTheGoldenOnes) {
  Decoder decoder = load_tiny(GetParam().name, GetParam().form);
  const auto golden = tiny_tensors(GetParam().name);
  const Json json = tiny_json(GetParam().name);
  const auto parameters = trainable(decoder);
  const RotaryTable rotary = plain_rotary_table(decoder.config, 12);
  ForwardInput input;
  input.input_ids = golden.at("main.input_ids");
  input.attention_mask = golden.at("main.attention_mask");
  // A padding token predicts the first real one in these labels, so its attention enters the loss.
  input.blind_query = BlindQuery::kMean;
  input.rotary = &rotary;
  const at::Tensor loss = causal_lm_loss(forward(decoder, input).logits, golden.at("main.labels"));
  EXPECT_NEAR(loss.item<double>(), json.at("loss").get<double>(), 1e-5);
  std::vector<at::Tensor> leaves;
  for (const auto& [name, parameter] : parameters) leaves.push_back(parameter);
  const auto found = torch::autograd::grad({loss}, leaves);
  double sum_of_squares = 0;
  size_t i = 0, compared = 0;
  for (const auto& [name, parameter] : parameters) {
    const at::Tensor gradient = found[i++];
    ASSERT_TRUE(at::isfinite(gradient).all().item<bool>()) << name;
    const double norm = gradient.to(at::kDouble).norm().item<double>();
    sum_of_squares += norm * norm;
    const double expected = json.at("grad_norm_per_param").at(name);
    EXPECT_NEAR(norm, expected, 1e-5 * expected) << name;
    if (golden.count("grad." + name) > 0) {
      EXPECT_TRUE(all_close(gradient, golden.at("grad." + name), 2e-5)) << name;
      ++compared;
    }
    if (golden.count("grad_rows." + name) > 0) {
      const at::Tensor rows = at::tensor(json.at("grad_rows_embed").get<std::vector<int64_t>>(), at::kLong);
      EXPECT_TRUE(all_close(gradient.index_select(0, rows), golden.at("grad_rows." + name), 2e-5)) << name;
      ++compared;
    }
  }
  EXPECT_GE(compared, 6u);
  const double global = json.at("grad_norm_global");
  EXPECT_NEAR(std::sqrt(sum_of_squares), global, 1e-5 * global);
}

TEST_P(Gradients, AreFiniteWhenPaddingQueriesTakeNothing) {
  Decoder decoder = load_tiny(GetParam().name, GetParam().form);
  const auto golden = tiny_tensors(GetParam().name);
  const auto parameters = trainable(decoder);
  const RotaryTable rotary = plain_rotary_table(decoder.config, 12);
  ForwardInput input;
  input.input_ids = golden.at("main.input_ids");
  input.attention_mask = golden.at("main.attention_mask");
  input.rotary = &rotary;
  const at::Tensor loss = causal_lm_loss(forward(decoder, input).logits, golden.at("main.labels"));
  for (const auto& [name, parameter] : parameters) {
    const at::Tensor gradient = torch::autograd::grad({loss}, {parameter}, {}, /*retain_graph=*/true)[0];
    EXPECT_TRUE(at::isfinite(gradient).all().item<bool>()) << name;
  }
}

TEST(CausalLmLoss, WithoutATargetThereIsNothingToAverage) {
  const at::Tensor logits = at::tensor({0.f, 1.f, 2.f, 3.f}).view({1, 2, 2});
  EXPECT_THROW(causal_lm_loss(logits, at::tensor({1, -100}, at::kLong).view({1, 2})), InputError);
  // -log softmax([0, 1])[1]: the first row predicts the second token.
  const double loss = causal_lm_loss(logits, at::tensor({-100, 1}, at::kLong).view({1, 2})).item<double>();
  EXPECT_NEAR(loss, std::log(1 + std::exp(-1.0)), 1e-6);
}

}  // namespace
}  // namespace ropescope
