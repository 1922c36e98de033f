// Vision-language configurations: what absent keys mean, what is refused, whose tensors are whose.
#include "ropescope/architectures/vlm_config.h"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/architectures/llava_config.h"
#include "ropescope/architectures/llava_names.h"
#include "ropescope/architectures/vision_names.h"

#include "tests/support/golden.h"
#include "tests/support/refusal.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
using ::testing::HasSubstr;

TEST(VlmConfig, NamesAndTypesAreSaidOnce) {
  std::set<std::string> names;
  for (const VlmFamily* family : vlm_families()) {
    EXPECT_TRUE(names.insert(family->name).second) << family->name;
    EXPECT_EQ(&vlm_family_of(family->name), family);
    EXPECT_FALSE(family->summary.empty());
    EXPECT_FALSE(family->source.empty());
    if (family->claims == nullptr) {
      EXPECT_EQ(find_vlm_family({{"model_type", family->model_types.front()}}), family) << family->name;
      EXPECT_EQ(find_vlm_family({{"architectures", {family->classes.front()}}}), family) << family->name;
    }
  }
  EXPECT_EQ(find_vlm_family({{"model_type", "llama"}}), nullptr);
  EXPECT_EQ(find_vlm_family({{"model_type", 7}}), nullptr);
  EXPECT_EQ(find_vlm_family(Json::array()), nullptr);
}

// The sparse form of published files.
TEST(VlmConfig, Qwen25AsPublished) {
  const Json config =
      parse_json(R"({"model_type": "qwen2_5_vl", "hidden_size": 3584, "tie_word_embeddings": false,
      "vision_start_token_id": 151652, "image_token_id": 151655,
      "vision_config": {"depth": 32, "hidden_act": "silu", "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16,
        "in_chans": 3, "out_hidden_size": 3584, "patch_size": 14, "spatial_merge_size": 2, "spatial_patch_size": 14,
        "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31], "tokens_per_second": 2,
        "temporal_patch_size": 2}})",
                 "x");
  const VlmConfig vlm = parse_vlm_config(config, "x");
  EXPECT_EQ(vlm.family->name, "qwen2_5_vl");
  EXPECT_EQ(vlm.text_hidden_size, 3584);
  EXPECT_EQ(vlm.tokens_per_second, 2);
  EXPECT_EQ(vlm.tokens.video, 151656);
  EXPECT_EQ(vlm.vision.window_tokens(), 4);
  EXPECT_EQ(vlm.vision.full_layers, (std::vector<int64_t>{7, 15, 23, 31}));
  EXPECT_EQ(vlm.vision.rope_theta, 10000);
  EXPECT_EQ(vlm.vision.head_dim(), 80);
  EXPECT_TRUE(vlm.vision.rms_norm && vlm.vision.gated_mlp && vlm.connector.rms_norm);
  EXPECT_EQ(vlm.connector.inner, 5120);
  EXPECT_EQ(vlm.feature_layers, std::vector<int64_t>{32});
}

TEST(VlmConfig, AbsentKeysMeanWhatTheClassesAssume) {
  const auto text = [](const char* type, Json vision, int64_t size) {
    return Json{
        {"model_type", type}, {"text_config", {{"hidden_size", size}}}, {"vision_config", std::move(vision)}};
  };
  const VlmConfig qwen2 = parse_vlm_config(text("qwen2_vl", {{"in_chans", 3}}, 3584), "x");
  EXPECT_EQ(qwen2.vision.hidden_size, 1280);
  EXPECT_EQ(qwen2.vision.intermediate_size, 5120);
  EXPECT_EQ(qwen2.vision.activation, Activation::kQuickGelu);
  EXPECT_EQ(qwen2.tokens_per_second, 0);
  const VlmConfig qwen3 = parse_vlm_config(text("qwen3_vl", Json::object(), 3584), "x");
  EXPECT_EQ(qwen3.vision.table_side, 48);
  EXPECT_EQ(qwen3.vision.patch_size, 16);
  EXPECT_EQ(qwen3.vision.deepstack_layers, (std::vector<int64_t>{8, 16, 24}));
  EXPECT_EQ(qwen3.connector.deepstack, 3);
  EXPECT_TRUE(parse_vlm_config(text("qwen3_5", Json::object(), 3584), "x").vision.deepstack_layers.empty());
  const VlmConfig glm = parse_vlm_config(text("glm4v", Json::object(), 4096), "x");
  EXPECT_EQ(glm.vision.table_side, 24);
  EXPECT_EQ(glm.vision.intermediate_size, 4096);
  EXPECT_EQ(glm.connector.inner, 13696);
  EXPECT_EQ(glm.tokens.video_start, 151341);
  const VlmConfig intern = parse_vlm_config(text("internvl", Json::object(), 896), "x");
  EXPECT_EQ(intern.vision.tokens(), 1025);
  EXPECT_FALSE(intern.vision.qkv_bias);
  EXPECT_EQ(intern.tokens.image, 151667);
  // LLaVA-1.5's text_config says nothing of its width, Gemma 3's little at all.
  const VlmConfig llava = parse_vlm_config(parse_json(R"({"model_type": "llava", "image_token_index": 32000,
          "text_config": {"model_type": "llama", "vocab_size": 32064},
          "vision_config": {"model_type": "clip_vision_model", "hidden_size": 1024, "image_size": 336,
            "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14},
          "vision_feature_layer": -2, "vision_feature_select_strategy": "default"})",
                                                      "x"),
                                           "x");
  EXPECT_EQ(llava.text_hidden_size, 4096);
  EXPECT_EQ(llava.feature_layers, std::vector<int64_t>{23});
  const VlmConfig gemma = parse_vlm_config(text("gemma3",
                                                {{"model_type", "siglip_vision_model"},
                                                 {"hidden_size", 1152},
                                                 {"image_size", 896},
                                                 {"patch_size", 14},
                                                 {"num_attention_heads", 16},
                                                 {"num_hidden_layers", 27},
                                                 {"intermediate_size", 4304},
                                                 {"vision_use_head", false}},
                                                2560),
                                           "x");
  EXPECT_EQ(gemma.connector.merge_size, 4);
  EXPECT_TRUE(gemma.tie_word_embeddings);
  EXPECT_EQ(gemma.tokens.vision_start, 255999);
  const VlmConfig onevision = parse_vlm_config(text("llava_onevision", nullptr, 3584), "x");
  EXPECT_EQ(onevision.vision.num_hidden_layers, 26);
  EXPECT_EQ(onevision.feature_layers, std::vector<int64_t>{26});
  EXPECT_EQ(onevision.most_tiles, 9);
  const VlmConfig smol = parse_vlm_config(
      text("smolvlm", {{"image_size", 512}, {"patch_size", 16}, {"hidden_size", 768}}, 576), "x");
  EXPECT_EQ(smol.connector.merge_size, 2);
  EXPECT_FALSE(smol.vision.use_head);
}

// The golden data has no old spelling of qwen3_5 and glm4v.
TEST(VlmConfig, BothSpellingsAreTheSame) {
  for (const std::string family : {"qwen2_vl", "qwen2_5_vl", "qwen3_vl", "llava_onevision", "internvl",
                                   "idefics3", "smolvlm", "gemma3", "llava"}) {
    const std::string folder = "vlm/" + family;
    const VlmConfig vlm = parse_vlm_config(golden_json(folder + "/config.json"), family);
    EXPECT_EQ(vlm.family->name, family);
    EXPECT_EQ(parse_vlm_config(golden_json(folder + "/config.old.json"), family), vlm) << family;
  }
}

TEST(VlmConfig, LlavaNextIsReadAsItsOwnReaderDoes) {
  const std::string folder = "vision/llava-next-tiny-siglip-qwen2";
  const VlmConfig vlm = parse_vlm_config(golden_json(folder + "/config.json"), "x");
  const LlavaConfig llava = read_llava_config(golden_path(folder));
  EXPECT_EQ(vlm.family->name, "llava_next");
  EXPECT_EQ(vlm.feature_layers, llava.feature_layers);
  EXPECT_EQ(vlm.vision, llava.tower);
  EXPECT_EQ(vlm, vlm_config_of(llava));
  EXPECT_EQ(vlm.most_tiles, 0);
}

// A family's golden config with one key changed.
std::string refused(const std::string& family, const std::function<void(Json&)>& change) {
  Json config = golden_json("vlm/" + family + "/config.json");
  change(config);
  return refusal_of([&] { parse_vlm_config(config, "config.json"); });
}

TEST(VlmConfig, RefusesWhatCannotBeOrIsNotThere) {
  const auto vision = [](const char* key, Json value) {
    return [key, value](Json& config) { config["vision_config"][key] = value; };
  };
  EXPECT_THAT(refused("qwen2_5_vl", vision("depth", 0)), HasSubstr("num_hidden_layers"));
  EXPECT_THAT(refused("qwen2_5_vl", vision("window_size", 4)), HasSubstr("window_size"));
  EXPECT_THAT(refused("qwen2_5_vl", vision("fullatt_block_indexes", {1, 4})),
              HasSubstr("fullatt_block_indexes"));
  EXPECT_THAT(refused("qwen2_5_vl", vision("fullatt_block_indexes", "all")), HasSubstr("expected a list"));
  EXPECT_THAT(refused("qwen2_5_vl", vision("out_hidden_size", 60)),
              HasSubstr("expected the text model's hidden_size"));
  EXPECT_THAT(refused("qwen2_5_vl", vision("num_heads", 16)), HasSubstr("whole fours"));
  EXPECT_THAT(refused("qwen2_5_vl", vision("in_channels", 1)), HasSubstr("num_channels"));
  EXPECT_THAT(refused("qwen2_5_vl", vision("hidden_act", "relu")), HasSubstr("hidden_act"));
  EXPECT_THAT(refused("qwen2_vl", vision("mlp_ratio", -1)), HasSubstr("mlp_ratio"));
  EXPECT_THAT(refused("qwen2_vl", vision("spatial_patch_size", 5)), HasSubstr("spatial_patch_size"));
  EXPECT_THAT(refused("qwen2_vl", [](Json& config) { config["vision_config"] = 3; }),
              HasSubstr("JSON object"));
  EXPECT_THAT(refused("qwen2_vl", [](Json& config) { config["text_config"]["hidden_size"] = -4; }),
              HasSubstr("hidden_size"));
  EXPECT_THAT(refused("qwen3_vl", vision("num_position_embeddings", 35)), HasSubstr("square"));
  EXPECT_THAT(refused("qwen3_vl", vision("deepstack_visual_indexes", {-1})),
              HasSubstr("deepstack_visual_indexes"));
  EXPECT_THAT(refused("internvl", vision("image_size", {24, 28})), HasSubstr("image_size"));
  EXPECT_THAT(refused("internvl", vision("use_qk_norm", true)), HasSubstr("use_qk_norm"));
  EXPECT_THAT(refused("internvl", vision("norm_type", "rms_norm")), HasSubstr("norm_type"));
  EXPECT_THAT(refused("internvl", vision("use_mean_pooling", false)), HasSubstr("use_mean_pooling"));
  EXPECT_THAT(refused("internvl", [](Json& config) { config["downsample_ratio"] = 0.25; }),
              HasSubstr("downsample_ratio"));
  EXPECT_THAT(refused("internvl", [](Json& config) { config["vision_feature_select_strategy"] = "full"; }),
              HasSubstr("vision_feature_select_strategy"));
  EXPECT_THAT(refused("llava", [](Json& config) { config["vision_feature_layer"] = 9; }),
              HasSubstr("feature layer"));
  EXPECT_THAT(refused("llava_onevision", [](Json& config) { config["vision_aspect_ratio"] = "anyres"; }),
              HasSubstr("vision_aspect_ratio"));
  EXPECT_THAT(refused("idefics3", [](Json& config) { config["scale_factor"] = 4; }),
              HasSubstr("scale_factor"));
  EXPECT_THAT(refused("gemma3", [](Json& config) { config["mm_tokens_per_image"] = 15; }),
              HasSubstr("mm_tokens_per_image"));
  EXPECT_THAT(refused("gemma3", [](Json& config) { config["model_type"] = "paligemma"; }),
              HasSubstr("paligemma"));
  EXPECT_THROW(parse_vlm_config(Json::array(), "x"), InputError);
}

TEST(LlavaNames, TheOtherFamilies) {
  const auto is = [](const std::string& name, LlavaPart part, const std::string& expected) {
    const LlavaRole role = llava_role(name);
    EXPECT_EQ(role.part, part) << name;
    EXPECT_EQ(role.name, expected) << name;
  };
  for (const std::string prefix : {"visual.", "model.visual."}) {
    is(prefix + "blocks.0.attn.qkv.weight", LlavaPart::kTower, "blocks.0.attn.qkv.weight");
    is(prefix + "merger.mlp.0.bias", LlavaPart::kProjector, "merger.mlp.0.bias");
    is(prefix + "deepstack_merger_list.1.norm.bias", LlavaPart::kProjector,
       "deepstack_merger_list.1.norm.bias");
    is(prefix + "downsample.weight", LlavaPart::kProjector, "downsample.weight");
    is(prefix + "post_layernorm.weight", LlavaPart::kTower, "post_layernorm.weight");
  }
  is("model.text_model.layers.0.mlp.up_proj.weight", LlavaPart::kDecoder,
     "model.layers.0.mlp.up_proj.weight");
  is("model.vision_model.encoder.layers.1.mlp.fc1.bias", LlavaPart::kTower, "encoder.layers.1.mlp.fc1.bias");
  is("model.connector.modality_projection.proj.weight", LlavaPart::kProjector,
     "modality_projection.proj.weight");
  is("mlp1.3.weight", LlavaPart::kProjector, "linear_2.weight");
  is("vision_model.encoder.layers.0.ls1", LlavaPart::kTower, "encoder.layers.0.ls1");
  is("model.layers.0.mlp.up_proj.weight", LlavaPart::kDecoder, "model.layers.0.mlp.up_proj.weight");
}

// What `inspect` estimates is what the files hold.
TEST(VlmConfig, CountsTheTowersNumbers) {
  for (const std::string family : {"qwen2_vl", "qwen2_5_vl", "qwen3_vl", "glm4v", "internvl", "idefics3"}) {
    const std::string folder = "vlm/" + family;
    const VlmConfig vlm = parse_vlm_config(golden_json(folder + "/config.json"), family);
    int64_t numbers = 0;
    for (const auto& [name, tensor] : golden_tensors(folder + "/model.safetensors")) {
      if (llava_role(name).part == LlavaPart::kTower) numbers += tensor.numel();
    }
    EXPECT_EQ(estimate_vision_memory(vlm.vision, family).parameters, numbers) << family;
  }
}

}  // namespace
}  // namespace ropescope
