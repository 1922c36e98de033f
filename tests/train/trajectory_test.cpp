// Twenty steps of training, equal to tests/golden/language/training.
#include <cmath>

#include <gtest/gtest.h>

#include <ATen/core/grad_mode.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/device.h"
#include "ropescope/train/schedule.h"
#include "ropescope/train/text_model.h"
#include "ropescope/train/trainer.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

const std::string kFolder = "language/training/";

struct Run {
  std::string model, checkpoint, name;
  double sum_tolerance;  // absolute, of a parameter's sum (README.md of the golden files)
};

std::string run_name(const ::testing::TestParamInfo<Run>& info) {
  return info.param.model + "_" + info.param.name;
}

Decoder load(const Run& run) {
  const std::string folder = golden_path("language/" + run.checkpoint);
  return load_decoder(*open_checkpoint(folder), read_decoder_config(folder), {});
}

class Trajectory : public ::testing::TestWithParam<Run> {};

std::vector<Run> all_runs() {
  std::vector<Run> runs;
  for (const auto& [model, checkpoint, tolerance] :
       {std::tuple{"llama", "llama-tiny/safetensors-fp32", 1e-4},
        std::tuple{"qwen2", "qwen2-tiny/safetensors-bf16-tied", 1e-3}}) {
    for (const char* name : {"a_mean", "b_tokens", "c_nodecay_w003", "d_minlr_beta98"}) {
      runs.push_back({model, checkpoint, name, tolerance});
    }
  }
  return runs;
}

INSTANTIATE_TEST_SUITE_P(Golden, Trajectory, ::testing::ValuesIn(all_runs()), run_name);

Trainer make_trainer(Decoder& decoder, const Json& settings, int64_t steps) {
  ParameterGroup group;
  group.learning_rate = settings.at("lr");
  group.floor = settings.at("min_lr").is_null() ? 0.0 : settings.at("min_lr").get<double>();
  group.weight_decay = settings.at("wd");
  AdamW::Settings adam;
  adam.beta1 = settings.at("betas").at(0);
  adam.beta2 = settings.at("betas").at(1);
  adam.epsilon = settings.at("eps");
  TrainerSettings trainer;
  trainer.weighting = settings.at("norm") == "mean" ? LossWeighting::kMicroBatches : LossWeighting::kTokens;
  trainer.schedule.total_steps = steps;
  trainer.schedule.warmup_steps = warmup_steps(steps, settings.at("warm"));
  return Trainer(AdamW(make_trainable(decoder, {"*"}, {}), {group}, adam), trainer);
}

TextBatch batch_of(const std::map<std::string, at::Tensor>& batches, int64_t index) {
  TextBatch batch;
  batch.input_ids = batches.at("input_ids")[index];
  batch.attention_mask = batches.at("attention_mask")[index];
  batch.labels = batches.at("labels")[index];
  return batch;
}

void expect_parameters(const Trainer& trainer, const Json& checks, double sum_tolerance) {
  const at::NoGradGuard no_grad;
  size_t compared = 0;
  for (const Parameter& parameter : const_cast<Trainer&>(trainer).optimizer().parameters()) {
    const at::Tensor value = parameter.value.to(at::kDouble);
    const double sum = checks.at(parameter.name).at(0), absolute = checks.at(parameter.name).at(1);
    EXPECT_NEAR(value.sum().item<double>(), sum, sum_tolerance) << parameter.name;
    EXPECT_NEAR(value.abs().sum().item<double>(), absolute, 1e-4 * absolute) << parameter.name;
    ++compared;
  }
  EXPECT_EQ(compared, checks.size());
}

class Worst {
 public:
  void see(double actual, double expected) {
    worst_ = std::max(worst_, std::abs(actual - expected) / std::abs(expected));
  }
  double value() const { return worst_; }

 private:
  double worst_ = 0.0;
};

void expect_trajectory(const Run& run, const ModelLossOptions& options) {
  set_threads(1);  // these products are too small to share
  const Json golden = golden_json(kFolder + run.model + "_trajectories.json");
  const auto batches = golden_tensors(kFolder + run.model + "_batches.safetensors");
  const Json& expected = golden.at("runs").at(run.name);
  const int64_t steps = golden.at("steps"), accumulation = golden.at("accumulation");
  Decoder decoder = load(run);
  Trainer trainer = make_trainer(decoder, expected.at("settings"), steps);
  EXPECT_EQ(trainer.settings().schedule.warmup_steps, expected.at("warmup_steps").get<int64_t>());
  std::vector<std::string> decayed, undecayed;
  for (size_t i = 0; i < trainer.optimizer().parameters().size(); ++i) {
    (trainer.optimizer().decayed(i) ? decayed : undecayed)
        .push_back(trainer.optimizer().parameters()[i].name);
  }
  EXPECT_EQ(decayed.size(), expected.at("decayed_parameters").size());
  EXPECT_EQ(undecayed.size(), expected.at("undecayed_parameters").size());
  Worst rates, losses, norms;
  for (int64_t step = 0; step < steps; ++step) {
    SCOPED_TRACE("step " + std::to_string(step + 1));
    std::vector<TextBatch> micro;
    for (int64_t m = 0; m < accumulation; ++m) micro.push_back(batch_of(batches, step * accumulation + m));
    std::vector<Trainer::Micro> inputs;
    for (const TextBatch& batch : micro) inputs.push_back(text_micro(decoder, batch, options));
    const StepReport report = trainer.step(inputs);
    const auto at = static_cast<size_t>(step);
    const double rate = expected.at("lr").at(at), loss = expected.at("loss").at(at);
    const double norm = expected.at("grad_norm").at(at);
    EXPECT_NEAR(report.learning_rate, rate, 1e-12 * rate);
    EXPECT_NEAR(report.loss, loss, 2e-5 * loss);
    EXPECT_NEAR(report.gradient_norm, norm, 1e-4 * norm);
    losses.see(report.loss, loss);
    norms.see(report.gradient_norm, norm);
    for (size_t m = 0; m < micro.size(); ++m) {
      const double part = expected.at("micro_losses").at(at).at(m);
      EXPECT_NEAR(report.micro_losses[m], part, 2e-5 * part);
    }
    const std::string done = std::to_string(report.step);
    if (expected.at("checks").contains(done)) {
      expect_parameters(trainer, expected.at("checks").at(done), run.sum_tolerance);
    }
  }
  ::testing::Test::RecordProperty("worst_relative_loss", std::to_string(losses.value() * 1e9) + "e-9");
  ::testing::Test::RecordProperty("worst_relative_norm", std::to_string(norms.value() * 1e9) + "e-9");
  if (run.name != "a_mean") return;
  std::map<std::string, at::Tensor> finals;
  for (const Parameter& parameter : trainer.optimizer().parameters())
    finals[parameter.name] = parameter.value;
  for (const auto& [name, tensor] : golden_tensors(kFolder + run.model + "_a_mean_final_some.safetensors")) {
    ASSERT_EQ(finals.count(name), 1u) << name;
    EXPECT_TRUE(all_close(finals.at(name).detach(), tensor, 1e-3)) << name;
  }
}

TEST_P(Trajectory, TwentySteps) { expect_trajectory(GetParam(), {}); }

TEST_P(Trajectory, TwentyStepsWithLayersComputedTwice) {
  ModelLossOptions options;
  options.checkpoint_layers = true;
  expect_trajectory(GetParam(), options);
}

}  // namespace
}  // namespace ropescope
