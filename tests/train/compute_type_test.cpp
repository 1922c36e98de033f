// Training in bfloat16 with float32 master weights.
#include "ropescope/train/compute_type.h"

#include <gtest/gtest.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/autograd.h"
#include "ropescope/core/device.h"
#include "ropescope/train/text_model.h"
#include "ropescope/train/trainer.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

class MixedPrecision : public ::testing::Test {
 protected:
  MixedPrecision() {
    set_threads(1);  // these products are too small to share
    const std::string path = golden_path("language/qwen2-tiny/safetensors-bf16-tied");
    decoder_ = load_decoder(*open_checkpoint(path), read_decoder_config(path), {});
    parameters_ = make_trainable(decoder_, {"*"}, {});
    options_.compute = at::kBFloat16;
    options_.scheme = Scheme("id-align");
  }

  Decoder decoder_;
  std::vector<Parameter> parameters_;
  ModelLossOptions options_;
  TextBatch batch_ = pad_rows({{5, 9, 77, 120, 3, 8}, {4, 8, 15, 16}},
                              {{5, 9, 77, 120, 3, 8}, {4, 8, 15, 16}}, {"a", "b"}, 0);
};

TEST_F(MixedPrecision, MasterWeightsGetFloat32GradientsCloseToFloat32s) {
  const auto gradients = [&](at::ScalarType type) {
    ModelLossOptions options = options_;
    options.compute = type;
    drop_gradients(parameters_);
    torch::autograd::backward({text_loss(decoder_, batch_, 0.125, options)}, {});
    std::vector<at::Tensor> all;
    for (const Parameter& parameter : parameters_) all.push_back(parameter.value.grad().flatten());
    return all;
  };
  const auto rough = gradients(at::kBFloat16), fine = gradients(at::kFloat);
  for (size_t i = 0; i < fine.size(); ++i) {
    EXPECT_EQ(rough[i].scalar_type(), at::kFloat);
    if (parameters_[i].name.find("k_proj.bias") != std::string::npos) continue;  // theirs is rounding alone
    const double cosine = rough[i].dot(fine[i]).item<double>() /
                          (rough[i].norm().item<double>() * fine[i].norm().item<double>());
    EXPECT_GT(cosine, 0.99) << parameters_[i].name;
  }
}

TEST_F(MixedPrecision, UpdatesThatBfloat16CannotResolveAddUp) {
  ParameterGroup group;
  group.learning_rate = 1e-5;  // bfloat16 resolves 2^-8 of a weight
  TrainerSettings settings;
  settings.schedule = {ScheduleKind::kConstant, 50, 0};
  Trainer trainer(AdamW(parameters_, {group}, {}), settings);
  const at::Tensor before = decoder_.weights.layers[0].q.detach().clone();
  const double first = trainer.step({text_micro(decoder_, batch_, options_)}).loss;
  EXPECT_EQ(decoder_.weights.layers[0].q.scalar_type(), at::kFloat);
  for (int i = 0; i < 49; ++i) trainer.step({text_micro(decoder_, batch_, options_)});
  EXPECT_LT(trainer.step({text_micro(decoder_, batch_, options_)}).loss, first);
  const at::Tensor moved = decoder_.weights.layers[0].q.detach().sub(before).abs();
  EXPECT_NEAR(moved.median().item<double>(), 5e-4, 2.5e-4);
}

TEST_F(MixedPrecision, ATiedMatrixStaysTied) {
  const Decoder working = in_type(decoder_, at::kBFloat16);
  EXPECT_TRUE(working.weights.lm_head.is_same(working.weights.embed_tokens));
  EXPECT_EQ(working.weights.layers[1].down.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(in_type(decoder_, at::kFloat).weights.norm.is_same(decoder_.weights.norm));
}

}  // namespace
}  // namespace ropescope
