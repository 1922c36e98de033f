// Loss over the vocabulary, layers that are computed twice, and what a step refuses.
#include <limits>

#include <gtest/gtest.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/autograd.h"
#include "ropescope/core/device.h"
#include "ropescope/core/errors.h"
#include "ropescope/models/decoder.h"
#include "ropescope/train/text_model.h"
#include "ropescope/train/vocabulary_loss.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

at::Generator generator() { return at::make_generator<at::CPUGeneratorImpl>(7); }

struct Problem {
  at::Tensor hidden, weight, labels;  // [1, N, C], [V, C], [1, N]
};

Problem problem(int64_t rows, int64_t channels, int64_t vocabulary, at::ScalarType dtype) {
  const auto options = at::TensorOptions().dtype(dtype);
  Problem made;
  made.hidden = at::randn({1, rows, channels}, generator(), options).set_requires_grad(true);
  made.weight = at::randn({vocabulary, channels}, generator(), options).set_requires_grad(true);
  made.labels = at::randint(vocabulary, {1, rows}, generator(), at::kLong);
  made.labels.narrow(1, 1, 3).fill_(kIgnoredLabel);
  return made;
}

at::Tensor chunked(const Problem& p, double scale, int64_t chunk) {
  const int64_t pairs = p.labels.size(1) - 1;
  return vocabulary_loss(p.hidden.narrow(1, 0, pairs).flatten(0, 1), p.weight,
                         shift_labels(p.labels).targets.flatten(), scale, chunk);
}

TEST(VocabularyLoss, EqualsThePlainLossAndItsGradientsForEveryChunk) {
  const Problem p = problem(23, 16, 101, at::kFloat);
  const int64_t count = shift_labels(p.labels).count;
  const at::Tensor logits = p.hidden.flatten(0, 1).mm(p.weight.t()).unsqueeze(0);
  const at::Tensor plain = causal_lm_loss(logits, p.labels);
  const auto expected = torch::autograd::grad({plain}, {p.hidden, p.weight});
  for (const int64_t chunk : {1, 4, 7, 19, 64, 0}) {
    SCOPED_TRACE(chunk);
    const at::Tensor loss = chunked(p, 1.0 / static_cast<double>(count), chunk);
    EXPECT_NEAR(loss.item<double>(), plain.item<double>(), 1e-6 * plain.item<double>());
    const auto found = torch::autograd::grad({loss}, {p.hidden, p.weight});
    EXPECT_TRUE(all_close(found[0], expected[0], 1e-6));
    EXPECT_TRUE(all_close(found[1], expected[1], 1e-6));
  }
}

TEST(VocabularyLoss, AnOuterFactorScalesItsGradients) {
  const Problem p = problem(9, 8, 31, at::kFloat);
  const auto once = torch::autograd::grad({chunked(p, 1.0, 4)}, {p.hidden, p.weight});
  const auto thrice = torch::autograd::grad({chunked(p, 1.0, 4).mul(3.0)}, {p.hidden, p.weight});
  EXPECT_TRUE(all_close(thrice[0], once[0].mul(3.0), 1e-5));
  EXPECT_TRUE(all_close(thrice[1], once[1].mul(3.0), 1e-5));
}

// Central differences in every entry; the loss is summed in float64, its logits are float32, so the step is
// large and the tolerance that of float32 rounding over it.
TEST(VocabularyLoss, GradientsEqualFiniteDifferences) {
  const Problem p = problem(8, 5, 11, at::kFloat);
  const auto found = torch::autograd::grad({chunked(p, 1.0, 3)}, {p.hidden, p.weight});
  const at::NoGradGuard no_grad;
  constexpr double kStep = 1e-2;
  const auto sweep = [&](at::Tensor& tensor, const at::Tensor& gradient) {
    float* data = tensor.data_ptr<float>();
    const at::Tensor dense = gradient.contiguous();
    for (int64_t i = 0; i < tensor.numel(); ++i) {
      const float before = data[i];
      data[i] = before + static_cast<float>(kStep);
      const double above = chunked(p, 1.0, 3).item<double>();
      data[i] = before - static_cast<float>(kStep);
      const double below = chunked(p, 1.0, 3).item<double>();
      data[i] = before;
      ASSERT_NEAR((above - below) / (2 * kStep), dense.data_ptr<float>()[i], 2e-3) << i;
    }
  };
  at::Tensor hidden = p.hidden, weight = p.weight;
  sweep(hidden, found[0]);
  sweep(weight, found[1]);
}

TEST(VocabularyLoss, RefusesTargetsOutsideTheVocabulary) {
  Problem p = problem(6, 4, 10, at::kFloat);
  p.labels[0][5] = 10;
  EXPECT_THROW(chunked(p, 1.0, 0), InputError);
}

Decoder llama() {
  set_threads(1);  // these products are too small to share
  const std::string folder = golden_path("language/llama-tiny/safetensors-fp32");
  return load_decoder(*open_checkpoint(folder), read_decoder_config(folder), {});
}

TextBatch some_rows(bool with_padding) {
  const std::vector<std::vector<int64_t>> ids = {{1, 5, 9, 200, 7, 31, 8, 90},
                                                 {1, 17, 40, 41, 42, 43, 44, 45}};
  std::vector<std::vector<int64_t>> rows = ids;
  if (with_padding) rows[1].resize(5);
  return pad_rows(rows, rows, {"first", "second"}, 0);
}

class UnderAScheme : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Schemes, UnderAScheme,
                         ::testing::Values("vanilla", "id-align", "v2pe", "dipe", "alibi",
                                           "mrope-interleave"),
                         [](const auto& instance) {
                           std::string name = instance.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST_P(UnderAScheme, GradientsOfLayersComputedTwiceAreTheSameBitForBit) {
  for (const bool with_padding : {false, true}) {
    Decoder decoder = llama();
    const auto parameters = make_trainable(decoder, {"*"}, {"lm_head*"});
    const TextBatch batch = some_rows(with_padding);
    ModelLossOptions options;
    options.scheme = Scheme(GetParam());
    std::vector<at::Tensor> leaves;
    for (const Parameter& parameter : parameters) leaves.push_back(parameter.value);
    const at::Tensor plain = text_loss(decoder, batch, 0.1, options);
    const auto expected = torch::autograd::grad({plain}, leaves);
    options.checkpoint_layers = true;
    const at::Tensor twice = text_loss(decoder, batch, 0.1, options);
    EXPECT_EQ(twice.item<float>(), plain.item<float>());
    const auto found = torch::autograd::grad({twice}, leaves);
    for (size_t i = 0; i < leaves.size(); ++i) {
      EXPECT_TRUE(found[i].equal(expected[i])) << parameters[i].name;
    }
  }
}

TEST_P(UnderAScheme, PaddingChangesNothing) {
  const at::NoGradGuard no_grad;
  const Decoder decoder = llama();
  ModelLossOptions options;
  options.scheme = Scheme(GetParam());
  const TextBatch padded = some_rows(true);
  double sum = 0;
  const std::vector<std::vector<int64_t>> rows = {{1, 5, 9, 200, 7, 31, 8, 90}, {1, 17, 40, 41, 42}};
  for (const auto& row : rows) {
    sum += text_loss(decoder, pad_rows({row}, {row}, {"row"}, 0), 1.0, options).item<double>();
  }
  EXPECT_NEAR(text_loss(decoder, padded, 1.0, options).item<double>(), sum, 1e-5 * sum);
  options.packing = true;
  EXPECT_NEAR(text_loss(decoder, padded, 1.0, options).item<double>(), sum, 1e-5 * sum);
}

TEST_P(UnderAScheme, GradientsOfPackedRowsAreThoseOfPaddedOnes) {
  Decoder decoder = llama();
  const std::vector<Parameter> parameters = make_trainable(decoder, {"*"}, {});
  const TextBatch padded = some_rows(true);
  std::vector<std::vector<at::Tensor>> found;
  for (const bool packing : {false, true}) {
    ModelLossOptions options;
    options.scheme = Scheme(GetParam());
    options.packing = packing;
    drop_gradients(parameters);
    torch::autograd::backward({text_loss(decoder, padded, 0.1, options)}, {});
    found.emplace_back();
    for (const Parameter& parameter : parameters) found.back().push_back(parameter.value.grad());
  }
  for (size_t i = 0; i < parameters.size(); ++i) {
    const double size = found[0][i].abs().max().item<double>();
    EXPECT_TRUE(all_close(found[1][i], found[0][i], 1e-5 * size + 1e-8)) << parameters[i].name;
  }
}

Trainer trainer_of(Decoder& decoder) {
  ParameterGroup group;
  group.learning_rate = 1e-3;
  TrainerSettings settings;
  settings.schedule = {ScheduleKind::kConstant, 10, 0};
  return Trainer(AdamW(make_trainable(decoder, {"*"}, {"model.embed_tokens*"}), {group}, {}), settings);
}

TEST(TrainerSteps, ANonFiniteLossNamesItsRowsAndLeavesTheWeights) {
  Decoder decoder = llama();
  Trainer trainer = trainer_of(decoder);
  const TextBatch good = some_rows(false);
  trainer.step({text_micro(decoder, good)});
  const at::Tensor before = decoder.weights.layers[0].q.detach().clone();
  {
    const at::NoGradGuard no_grad;
    decoder.weights.embed_tokens =
        decoder.weights.embed_tokens.clone();  // (the checkpoint's map is read-only)
    decoder.weights.embed_tokens[90].fill_(std::numeric_limits<float>::quiet_NaN());
  }
  try {
    trainer.step({text_micro(decoder, good)});
    FAIL() << "expected a NumericsError";
  } catch (const NumericsError& error) {
    EXPECT_NE(std::string(error.what()).find("first, second"), std::string::npos) << error.what();
    EXPECT_EQ(error.exit_code(), 5);
  }
  EXPECT_TRUE(decoder.weights.layers[0].q.equal(before));
  EXPECT_EQ(trainer.steps_done(), 1);
}

TEST(TrainerSteps, FrozenParametersStay) {
  Decoder decoder = llama();
  const at::Tensor frozen = decoder.weights.embed_tokens.clone();
  const at::Tensor trained = decoder.weights.lm_head.clone();
  Trainer trainer = trainer_of(decoder);
  const TextBatch batch = some_rows(true);
  trainer.step({text_micro(decoder, batch)});
  EXPECT_TRUE(decoder.weights.embed_tokens.equal(frozen));
  EXPECT_FALSE(decoder.weights.lm_head.equal(trained));
}

}  // namespace
}  // namespace ropescope
