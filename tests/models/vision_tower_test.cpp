// Vision towers against the golden activations; tolerances are those of tests/golden/vision/README.md.
#include "ropescope/models/vision_tower.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include "ropescope/architectures/llava_config.h"
#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/weights/renamed_checkpoint.h"

#include "tests/support/golden.h"
#include "tests/support/refusal.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
using ::testing::HasSubstr;

constexpr double kTowerHidden = 2e-5, kTowerPooled = 1e-5, kTowerAttention = 1e-5;

class TowerGolden : public ::testing::TestWithParam<const char*> {
 protected:
  std::string folder_ = std::string("vision/") + GetParam();
  std::unique_ptr<Checkpoint> checkpoint_ = open_checkpoint(golden_path(folder_));
  VisionConfig config_ = parse_vision_config(golden_json(folder_ + "/config.json"), GetParam());
  VisionTower tower_ = load_vision_tower(*checkpoint_, config_);
  std::map<std::string, at::Tensor> golden_ = golden_tensors(folder_ + "/expected.safetensors");
};

INSTANTIATE_TEST_SUITE_P(Tiny, TowerGolden, ::testing::Values("clip-vision-tiny", "siglip-vision-tiny"),
                         [](const auto& instance) {
                           return std::string(instance.param).find("siglip") == 0 ? "SigLip" : "Clip";
                         });

TEST_P(TowerGolden, EveryActivation) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> hidden, attention;
  VisionTaps taps;
  taps.hidden = [&](int64_t, const at::Tensor& x) { hidden.push_back(x.clone()); };
  taps.attention = [&](int64_t, const at::Tensor& rows) { attention.push_back(rows.clone()); };
  const VisionOutput output = forward(tower_, golden_.at("pixel_values"), taps);
  ASSERT_EQ(hidden.size(), 4u);
  ASSERT_EQ(attention.size(), 3u);
  for (size_t l = 0; l < hidden.size(); ++l) {
    EXPECT_TRUE(all_close(hidden[l], golden_.at("hidden_states." + std::to_string(l)), kTowerHidden)) << l;
  }
  for (size_t l = 0; l < attention.size(); ++l) {
    EXPECT_TRUE(all_close(attention[l], golden_.at("attentions." + std::to_string(l)), kTowerAttention)) << l;
  }
  EXPECT_TRUE(all_close(output.last_hidden, golden_.at("last_hidden_state"), kTowerHidden));
  EXPECT_TRUE(all_close(output.pooled, golden_.at("pooler_output"), kTowerPooled));
}

TEST_P(TowerGolden, FeatureAndItsGradient) {
  const at::Tensor pixels = golden_.at("pixel_values").clone().requires_grad_(true);
  const at::Tensor feature = visual_features(tower_, pixels, {2});
  EXPECT_TRUE(all_close(feature, golden_.at("llava_feature"), kTowerHidden));
  feature.square().sum().mul(0.5).backward();
  const at::Tensor& expected = golden_.at("pixel_values.grad");
  const double relative = (pixels.grad().sub(expected).norm().div(expected.norm())).item<double>();
  EXPECT_LT(relative, 1e-3);
}

TEST_P(TowerGolden, LayersThatNobodyAsksForAreNotNeeded) {
  const at::NoGradGuard no_grad;
  const auto without_last = rename_tensors(*checkpoint_, [](const std::string& name) {
    const bool late = name.find("layers.2.") != std::string::npos ||
                      name.find("head.") != std::string::npos ||
                      name.find("post_layernorm") != std::string::npos;
    return late ? std::nullopt : std::optional<std::string>(name);
  });
  VisionLoadOptions options;
  options.layers = 2;
  const VisionTower tower = load_vision_tower(*without_last, config_, options);
  EXPECT_TRUE(at::equal(visual_features(tower, golden_.at("pixel_values"), {2}),
                        visual_features(tower_, golden_.at("pixel_values"), {2})));
  EXPECT_THROW(load_vision_tower(*without_last, config_), InputError);
}

TEST_P(TowerGolden, EverySpellingOfTheNames) {
  const at::NoGradGuard no_grad;
  const at::Tensor expected = forward(tower_, golden_.at("pixel_values")).pooled;
  for (const std::string prefix : {"", "vision_model.", "vision_tower.vision_model.", "vision_tower.",
                                   "model.vision_tower.vision_model.", "model.vision_tower.",
                                   "model.vision_tower.vision_tower.vision_model."}) {
    SCOPED_TRACE(prefix);
    const auto renamed = rename_tensors(*checkpoint_, [&](const std::string& name) {
      return std::optional<std::string>(prefix + name.substr(std::string("vision_model.").size()));
    });
    const VisionTower tower = load_vision_tower(*renamed, config_);
    EXPECT_TRUE(at::equal(forward(tower, golden_.at("pixel_values")).pooled, expected));
  }
}

TEST_P(TowerGolden, TheNestedConfigIsTheSame) {
  const VisionConfig nested = parse_vision_config(golden_json(folder_ + "/config.hub-style.json"), "hub");
  EXPECT_EQ(nested.kind, config_.kind);
  EXPECT_EQ(nested.hidden_size, config_.hidden_size);
  EXPECT_EQ(nested.patch_size, config_.patch_size);
  EXPECT_EQ(nested.activation, config_.activation);
  EXPECT_EQ(nested.layer_norm_eps, config_.layer_norm_eps);
  EXPECT_TRUE(is_vision_tower_config(golden_json(folder_ + "/config.hub-style.json")));
}

TEST_P(TowerGolden, PixelsThatAPatchDoesNotCoverAreNotSeen) {
  const at::NoGradGuard no_grad;
  const at::Tensor pixels = golden_.at("pixel_values");
  const int64_t covered = config_.grid() * config_.patch_size, rest = config_.image_size - covered;
  at::Tensor other = pixels.clone();
  other.narrow(2, covered, rest).fill_(7.0);
  other.narrow(3, covered, rest).fill_(-7.0);
  EXPECT_TRUE(at::equal(visual_features(tower_, pixels, {3}), visual_features(tower_, other, {3})));
}

TEST_P(TowerGolden, ImagesDoNotMix) {
  const at::NoGradGuard no_grad;
  const at::Tensor pixels = golden_.at("pixel_values");
  const at::Tensor all = visual_features(tower_, pixels, {2, 1});
  const at::Tensor one = visual_features(tower_, pixels.narrow(0, 1, 1), {2, 1});
  EXPECT_EQ(all.size(2), 2 * config_.hidden_size);
  EXPECT_TRUE(all_close(one, all.narrow(0, 1, 1), 2e-6));
}

TEST_P(TowerGolden, RefusesOtherSizes) {
  EXPECT_THROW(forward(tower_, at::zeros({1, 3, 8, 8})), InputError);
  EXPECT_THROW(forward(tower_, at::zeros({3, 56, 56})), InputError);
  VisionConfig wide = config_;
  wide.hidden_size *= 2;
  EXPECT_THAT(refusal_of([&] { load_vision_tower(*checkpoint_, wide); }), HasSubstr("expected ["));
}

TEST(VisionConfig, DefaultsAreThoseOfTheClasses) {
  const VisionConfig clip = parse_vision_config({{"model_type", "clip_vision_model"}}, "x");
  EXPECT_EQ(clip.patch_size, 32);
  EXPECT_EQ(clip.activation, Activation::kQuickGelu);
  EXPECT_EQ(clip.layer_norm_eps, 1e-5);
  const VisionConfig siglip = parse_vision_config({{"model_type", "siglip_vision_model"}}, "x");
  EXPECT_EQ(siglip.patch_size, 16);
  EXPECT_EQ(siglip.activation, Activation::kGeluTanh);
  EXPECT_EQ(siglip.layer_norm_eps, 1e-6);
}

TEST(VisionConfig, RefusesWhatCannotBe) {
  const auto refused = [](Json config) {
    config["model_type"] = "clip_vision_model";
    EXPECT_THROW(parse_vision_config(config, "x"), InputError) << config.dump();
  };
  refused({{"hidden_size", 0}});
  refused({{"hidden_size", 30}, {"num_attention_heads", 4}});
  refused({{"patch_size", 0}});
  refused({{"patch_size", 300}});
  refused({{"image_size", 1 << 20}});
  refused({{"num_channels", 1}});
  refused({{"layer_norm_eps", 0}});
  refused({{"hidden_act", "relu"}});
  refused({{"num_hidden_layers", 1e9}});
  EXPECT_THROW(parse_vision_config(Json::array(), "x"), InputError);
  EXPECT_THROW(parse_vision_config({{"model_type", "llama"}}, "x"), InputError);
}

}  // namespace
}  // namespace ropescope
