// LLaVA-NeXT configurations of both forms, names of their tensors, and towers inside and beside them.
#include "ropescope/architectures/llava_config.h"

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/architectures/llava_names.h"

#include "tests/support/golden.h"
#include "tests/support/refusal.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
using ::testing::HasSubstr;

const std::string kClip = "vision/llava-next-tiny-clip-llama";

TEST(LlavaConfig, PublishedConfigsSayLittle) {
  // llava-v1.6-vicuna-7b-hf and llava-v1.6-mistral-7b-hf leave most to the classes.
  const Json vision = {{"model_type", "clip_vision_model"},
                       {"hidden_size", 1024},
                       {"image_size", 336},
                       {"intermediate_size", 4096},
                       {"num_attention_heads", 16},
                       {"num_hidden_layers", 24},
                       {"patch_size", 14}};
  Json config = {{"model_type", "llava_next"},
                 {"image_token_index", 32000},
                 {"vision_config", vision},
                 {"text_config", {{"model_type", "llama"}, {"vocab_size", 32064}, {"rms_norm_eps", 1e-5}}}};
  LlavaConfig llava = parse_llava_config(config, {}, "x");
  EXPECT_FALSE(llava.original);
  EXPECT_EQ(llava.decoder.hidden_size, 4096);
  EXPECT_EQ(llava.decoder.intermediate_size, 11008);
  EXPECT_EQ(llava.decoder.num_hidden_layers, 32);
  EXPECT_EQ(llava.decoder.vocab_size, 32064);
  EXPECT_EQ(llava.feature_layers, std::vector<int64_t>{23});
  EXPECT_EQ(llava.tower.activation, Activation::kQuickGelu);
  EXPECT_EQ(llava.image_token_id, 32000);
  config["text_config"] = {{"model_type", "mistral"}, {"sliding_window", nullptr}, {"vocab_size", 32064}};
  llava = parse_llava_config(config, {}, "x");
  EXPECT_EQ(llava.decoder.intermediate_size, 14336);
  EXPECT_EQ(llava.decoder.num_key_value_heads, 8);
  config["vision_feature_layer"] = {-2, 5};
  EXPECT_EQ(parse_llava_config(config, {}, "x").feature_size(), 2048);
}

TEST(LlavaConfig, TheOriginalFormNamesItsTower) {
  Json config = golden_json(kClip + "/original/config.json");
  config["mm_vision_tower"] = "openai/clip-vit-large-patch14-336";
  const LlavaConfig known = parse_llava_config(config, {}, "x");
  EXPECT_EQ(known.tower.num_hidden_layers, 24);
  EXPECT_EQ(known.tower.image_size, 336);
  EXPECT_FALSE(known.image_token_id.has_value());
  config["mm_vision_tower"] = "google/siglip-so400m-patch14-384";
  config["model_type"] = "llava_qwen";
  const LlavaConfig qwen = parse_llava_config(config, {}, "x");
  EXPECT_EQ(qwen.tower.kind, VisionKind::kSiglip);
  EXPECT_EQ(qwen.feature_layers, std::vector<int64_t>{26});
  EXPECT_EQ(qwen.decoder.model_type, "qwen2");
  config["mm_vision_tower"] = "somebody/else";
  EXPECT_THROW(parse_llava_config(config, {}, "x"), InputError);
}

TEST(LlavaConfig, RefusesWhatIsNotLlavaNext) {
  const auto refusal = [](const Json& config) {
    return refusal_of([&] { parse_llava_config(config, {}, "x"); });
  };
  const Json hf = golden_json(kClip + "/config.json"),
             original = golden_json(kClip + "/original/config.json");
  const auto with = [&](Json config, const char* key, const Json& value) {
    if (config.contains("mm_vision_tower")) config["mm_vision_tower"] = "openai/clip-vit-large-patch14-336";
    config[key] = value;
    return refusal(config);
  };
  EXPECT_THAT(with(hf, "model_type", "llava"), HasSubstr("llava_next"));
  EXPECT_THAT(with(hf, "vision_feature_select_strategy", "full"), HasSubstr("default"));
  EXPECT_THAT(with(hf, "vision_feature_layer", 9), HasSubstr("feature layer"));
  EXPECT_THAT(with(hf, "vision_feature_layer", Json::array()), HasSubstr("layers"));
  EXPECT_THAT(with(hf, "text_config", 5), HasSubstr("text_config"));
  EXPECT_THAT(with(hf, "vision_config", {{"model_type", "resnet"}}), HasSubstr("resnet"));
  EXPECT_THAT(with(original, "mm_projector_type", "linear"), HasSubstr("mlp2x_gelu"));
  EXPECT_THAT(with(original, "mm_patch_merge_type", "flat"), HasSubstr("spatial_unpad"));
  EXPECT_THAT(with(original, "image_aspect_ratio", "pad"), HasSubstr("anyres"));
  EXPECT_THAT(with(original, "mm_use_im_start_end", true), HasSubstr("mm_use_im_start_end"));
  EXPECT_NE(refusal({{"model_type", "llama"}}), "");
}

TEST(LlavaConfig, TheTowerIsFoundInsideBesideAndByPath) {
  namespace fs = std::filesystem;
  const TemporaryFolder folder;
  const auto make = [&](const std::string& name) {
    fs::create_directories(folder.path(name));
    std::ofstream(folder.path(name + "/config.json")) << "{}";
  };
  make("model");
  EXPECT_FALSE(find_tower_folder(folder.path("model"), "openai/clip").has_value());
  EXPECT_FALSE(find_tower_folder(folder.path("model"), "openai/model").has_value());
  make("clip");
  for (const char* model : {"model", "model/"}) {
    const auto found = find_tower_folder(folder.path(model), "openai/clip");
    ASSERT_TRUE(found.has_value());
    EXPECT_TRUE(fs::equivalent(*found, folder.path("clip")));
  }
  EXPECT_TRUE(find_tower_folder(folder.path("model"), folder.path("clip")).has_value());
  make("model/clip");
  EXPECT_TRUE(
      fs::equivalent(*find_tower_folder(folder.path("model"), "openai/clip"), folder.path("model/clip")));
}

TEST(LlavaConfig, TheLanguageModelOfAFolderStandsAlone) {
  const DecoderConfig decoder = read_decoder_config(golden_path(kClip));
  EXPECT_EQ(decoder.model_type, "llama");
  EXPECT_EQ(decoder.vocab_size, 192);
  EXPECT_EQ(read_decoder_config(golden_path(kClip + "/original")).vocab_size, 180);
}

TEST(LlavaNames, EveryFormOfEveryPart) {
  const auto is = [](const std::string& name, LlavaPart part, const std::string& expected) {
    const LlavaRole role = llava_role(name);
    EXPECT_EQ(role.part, part) << name;
    EXPECT_EQ(role.name, expected) << name;
  };
  for (const char* prefix : {"language_model.model.", "model.language_model.", "model."}) {
    is(std::string(prefix) + "layers.0.mlp.up_proj.weight", LlavaPart::kDecoder,
       "model.layers.0.mlp.up_proj.weight");
  }
  is("language_model.lm_head.weight", LlavaPart::kDecoder, "lm_head.weight");
  is("lm_head.weight", LlavaPart::kDecoder, "lm_head.weight");
  is("model.mm_projector.2.bias", LlavaPart::kProjector, "linear_2.bias");
  is("mm_projector.0.weight", LlavaPart::kProjector, "linear_1.weight");
  is("multi_modal_projector.linear_1.bias", LlavaPart::kProjector, "linear_1.bias");
  is("model.multi_modal_projector.linear_1.bias", LlavaPart::kProjector, "linear_1.bias");
  is("model.image_newline", LlavaPart::kNewline, "image_newline");
  is("vision_model.embeddings.position_ids", LlavaPart::kOther, "embeddings.position_ids");
  is("text_model.encoder.layers.0.mlp.fc1.bias", LlavaPart::kOther,
     "text_model.encoder.layers.0.mlp.fc1.bias");
  is("logit_scale", LlavaPart::kOther, "logit_scale");
}

}  // namespace
}  // namespace ropescope
