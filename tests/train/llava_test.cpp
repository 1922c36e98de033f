// Losses and gradient norms of LLaVA-NeXT, equal to tests/golden/vision/llava-next-tiny-*.
#include <cmath>

#include <gtest/gtest.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/autograd.h"
#include "ropescope/core/device.h"
#include "ropescope/train/vlm_model.h"
#include "ropescope/vision/preprocess.h"

#include "tests/support/golden.h"
#include "tests/support/llava_next.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

class LlavaTraining : public ::testing::TestWithParam<std::string> {
 protected:
  LlavaTraining() { set_threads(1); }  // these products are too small to share

  std::string folder() const { return "vision/llava-next-tiny-" + GetParam(); }
  Vlm load() const { return load_llava_next(golden_path(folder())); }
  /// `form`: "" for the full run of image tokens, "_original" for one placeholder an image.
  VlmRow row(const std::string& name, const std::string& form) const {
    const auto integers = [&](const std::string& key) {
      const at::Tensor tensor = golden_.at(name + "." + key + form).flatten().contiguous();
      const int64_t* data = tensor.const_data_ptr<int64_t>();
      return std::vector<int64_t>(data, data + tensor.numel());
    };
    VlmRow made;
    made.name = name;
    made.text = {integers("input_ids"), integers("labels")};
    if (golden_.count(name + ".pixel_values") == 0) return made;
    const AnyresOptions anyres = *read_preprocess_settings(golden_path(folder()), PinpointRule::kHf).anyres;
    const at::Tensor pixels = golden_.at(name + ".pixel_values");
    const at::Tensor sizes = golden_.at(name + ".image_sizes_hw");
    for (int64_t i = 0; i < pixels.size(0); ++i) {
      made.items.push_back(llava_item(
          pixels[i], anyres_geometry(sizes[i][1].item<int64_t>(), sizes[i][0].item<int64_t>(), anyres)));
    }
    return made;
  }

  std::map<std::string, at::Tensor> golden_ = golden_tensors(folder() + "/expected.safetensors");
  Json expected_ = golden_json(folder() + "/expected.json");
};

INSTANTIATE_TEST_SUITE_P(Tiny, LlavaTraining, ::testing::Values("clip-llama", "siglip-qwen2"),
                         [](const auto& instance) {
                           return instance.param == "clip-llama" ? "ClipLlama" : "SiglipQwen2";
                         });

void expect_gradients(const std::vector<Parameter>& parameters, const Json& norms) {
  EXPECT_NEAR(gradient_norm(parameters), norms.at("total").get<double>(),
              1e-4 * norms.at("total").get<double>());
  if (!norms.contains("per_tensor")) return;
  size_t compared = 0;
  for (const Parameter& parameter : parameters) {
    const Json& expected = norms.at("per_tensor").at(parameter.name);
    const at::Tensor& gradient = parameter.value.grad();
    if (expected.is_null()) {
      EXPECT_FALSE(gradient.defined()) << parameter.name;
      continue;
    }
    // Text alone leaves the tower without a gradient on one side or with zeros on the other.
    const double norm = gradient.defined() ? gradient.norm().item<double>() : 0.0;
    // k biases of the tower move all scores of a row alike: their gradient is rounding.
    EXPECT_NEAR(norm, expected.get<double>(), 1e-4 * expected.get<double>() + 1e-7) << parameter.name;
    ++compared;
  }
  EXPECT_GT(compared, 15u);
}

TEST_P(LlavaTraining, LossAndGradientsOfEveryCase) {
  Vlm llava = load();
  const std::vector<Parameter> parameters = make_trainable(llava, {"*"}, {});
  for (const Json& one : expected_.at("cases")) {
    const std::string name = one.at("name");
    for (const bool twice : {false, true}) {
      for (const char* form : {"", "_original"}) {
        SCOPED_TRACE(name + form + (twice ? ", layers computed twice" : ""));
        const std::vector<VlmRow> rows = {row(name, form)};
        ModelLossOptions options;
        options.checkpoint_layers = twice;
        const Trainer::Micro micro = vlm_micro(llava, rows, options);
        EXPECT_EQ(micro.targets, one.at("labels_counted").get<int64_t>());
        EXPECT_EQ(micro.tokens, one.at("length").get<int64_t>());
        drop_gradients(parameters);
        const at::Tensor loss = micro.loss(1.0 / static_cast<double>(micro.targets));
        EXPECT_NEAR(loss.item<double>(), one.at("loss").get<double>(), 1e-5);
        torch::autograd::backward({loss}, {});
        expect_gradients(parameters, one.at("grad_norm"));
      }
    }
  }
}

TEST_P(LlavaTraining, LossAndGradientsUnderIdAlign) {
  Vlm llava = load();
  const std::vector<Parameter> parameters = make_trainable(llava, {"*"}, {});
  size_t compared = 0;
  for (const Json& one : expected_.at("cases")) {
    if (!one.contains("idalign")) continue;
    SCOPED_TRACE(one.at("name").get<std::string>());
    const std::vector<VlmRow> rows = {row(one.at("name"), "")};
    ModelLossOptions options;
    options.scheme = Scheme("id-align");
    const Trainer::Micro micro = vlm_micro(llava, rows, options);
    drop_gradients(parameters);
    const at::Tensor loss = micro.loss(1.0 / static_cast<double>(micro.targets));
    EXPECT_NEAR(loss.item<double>(), one.at("idalign").at("loss").get<double>(), 1e-5);
    torch::autograd::backward({loss}, {});
    expect_gradients(parameters, one.at("idalign").at("grad_norm"));
    ++compared;
  }
  EXPECT_GE(compared, 1u);
}

TEST_P(LlavaTraining, ThePretrainingStageMovesTheProjectorOnly) {
  Vlm llava = load();
  const at::Tensor newline = llava.eyes.image_newline.clone(), q = llava.decoder.weights.layers[0].q.clone();
  const at::Tensor before = llava.eyes.connector.weights.first.weight.clone();
  ParameterGroup group;
  group.learning_rate = 1e-3;
  TrainerSettings settings;
  settings.schedule = {ScheduleKind::kConstant, 5, 0};
  Trainer trainer(AdamW(make_trainable(llava, {"model.multi_modal_projector.*"}, {}), {group}, {}), settings);
  const std::vector<VlmRow> images = {row("one_image", "")},
                            both = {row("two_images", ""), row("text_only", "")};
  std::vector<double> losses;
  for (int step = 0; step < 5; ++step) {
    losses.push_back(trainer.step({vlm_micro(llava, images), vlm_micro(llava, both)}).loss);
  }
  EXPECT_LT(losses.back(), losses.front());
  EXPECT_TRUE(llava.eyes.image_newline.equal(newline));
  EXPECT_TRUE(llava.decoder.weights.layers[0].q.equal(q));
  EXPECT_FALSE(llava.eyes.connector.weights.first.weight.equal(before));
}

}  // namespace
}  // namespace ropescope
