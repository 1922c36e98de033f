// Language models inside vision-language checkpoints: where their settings stand, the axes of their positions, the names
// of their tensors.
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/equal.h>

#include "ropescope/architectures/architecture.h"
#include "ropescope/architectures/decoder_names.h"
#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/rope/scheme.h"

#include "tests/architectures/parsing.h"
#include "tests/support/golden.h"
#include "tests/support/golden_vlm.h"

namespace ropescope {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using testing::golden_json;
using testing::golden_path;
using ::testing::HasSubstr;
using testing::parse;
using testing::vlm_file;

struct VlmFamily {
  const char* folder;
  const char* decoder;
  const char* scheme;
};

const std::vector<VlmFamily>& vlm_text_families() {
  static const std::vector<VlmFamily> all = {
      {"qwen2_5_vl", "qwen2_5_vl_text", "mrope:sections=2/3/3"},
      {"qwen2_vl", "qwen2_vl_text", "mrope:sections=2/3/3,temporal_stride=1"},
      {"qwen3_vl", "qwen3_vl_text", "mrope-interleave:sections=4/2/2"},
      {"qwen3_5", "qwen3_5_text", "mrope-interleave:sections=4/2/2"},
      {"glm4v", "glm4v_text", "mrope:sections=1/2/3,temporal_stride=1"},
      {"gemma3", "gemma3_text", "vanilla"},
      {"idefics3", "llama", "vanilla"},
      {"internvl", "qwen2", "vanilla"},
      {"llava", "llama", "vanilla"},
      {"smolvlm", "llama", "vanilla"},
      {"llava_onevision", "qwen2", "vanilla"}};
  return all;
}

class VlmText : public ::testing::TestWithParam<VlmFamily> {
 protected:
  DecoderConfig read() const {
    return read_decoder_config(golden_path(std::string("vlm/") + GetParam().folder));
  }
};

INSTANTIATE_TEST_SUITE_P(Golden, VlmText, ::testing::ValuesIn(vlm_text_families()),
                         [](const auto& instance) { return std::string(instance.param.folder); });

TEST_P(VlmText, IsItsFamilyWithItsAxes) {
  const DecoderConfig config = read();
  EXPECT_EQ(config.model_type, GetParam().decoder);
  EXPECT_EQ(config.native_scheme(), GetParam().scheme);
  EXPECT_EQ(Scheme(config.native_scheme()).axes(), config.rope_axes ? 3 : 1);
}

TEST_P(VlmText, WhatIsWrittenReadsBack) {
  const DecoderConfig config = read();
  const Json written = to_json(config);
  EXPECT_EQ(parse(written), config) << written.dump(1);
  EXPECT_EQ(to_json(parse(written)), written);
}

TEST_P(VlmText, OldSpellingIsEqual) {
  const std::string old = golden_path(vlm_file(GetParam().folder, "config.old.json"));
  if (!std::filesystem::exists(old)) GTEST_SKIP() << "published in the new spelling only";
  const testing::TemporaryFolder folder;
  std::filesystem::copy_file(old, folder.path("config.json"));
  DecoderConfig then = read_decoder_config(folder.path("")), now = read();
  // (the new files say that there is no first token, the old ones leave it to the class)
  for (DecoderConfig* config : {&then, &now}) config->bos_token_id.reset();
  EXPECT_EQ(to_json(then), to_json(now));
  EXPECT_EQ(then, now);
}

TEST_P(VlmText, EveryRuleHasATensorAndNoTensorOfTheDecoderIsLeftOver) {
  const DecoderConfig config = read();
  const auto file = open_checkpoint(golden_path(std::string("vlm/") + GetParam().folder));
  const auto part = decoder_part(*file);
  const Checkpoint& tensors = part ? *part : *file;
  std::set<std::string> taken;
  for (const TensorRule& rule : tensor_rules(config)) {
    const TensorInfo* info = tensors.find(rule.name);
    ASSERT_NE(info, nullptr) << rule.name;
    std::vector<int64_t> shape = rule.shape;
    if (rule.first_row >= 0) shape[0] = rule.stored_rows;
    EXPECT_EQ(info->shape, shape) << rule.name;
    taken.insert(rule.name);
  }
  for (const TensorInfo& info : tensors.tensors()) {
    const bool of_decoder = info.name.starts_with("model.layers.") || info.name.starts_with("lm_head.") ||
                            info.name.starts_with("model.norm.") ||
                            info.name.starts_with("model.embed_tokens.");
    EXPECT_EQ(of_decoder, taken.count(info.name) == 1) << info.name;
  }
}

/// A text config of 8 channel pairs.
Json axes_config(const std::string& model_type, const Json& rope) {
  Json settings = {{"rope_theta", 1e6}};
  settings.update(rope);
  return {{"model_type", model_type}, {"vocab_size", 300},      {"hidden_size", 64},
          {"intermediate_size", 128}, {"num_hidden_layers", 4}, {"num_attention_heads", 4},
          {"num_key_value_heads", 2}, {"head_dim", 16},         {"rope_parameters", settings}};
}

TEST(RopeAxes, SectionsHaveToBeAsManyAsThePairsThatTurn) {
  const auto refused = [](const char* type, const Json& rope) { return error_of(axes_config(type, rope)); };
  EXPECT_EQ(refused("qwen2_vl_text", {{"mrope_section", {2, 3, 3}}}), "");
  EXPECT_THAT(refused("qwen2_vl_text", {{"mrope_section", {2, 3, 4}}}),
              HasSubstr("\"mrope_section\": expected three numbers, 8 in all"));
  EXPECT_THAT(refused("qwen3_vl_text", {{"mrope_section", {8, 8}}}), HasSubstr("found 8/8"));
  EXPECT_THAT(refused("qwen3_vl_text", {{"mrope_section", {9, -1, 0}}}), HasSubstr("found 9/-1/0"));
  EXPECT_THAT(refused("qwen2_vl_text", {{"mrope_section", {2, 3, 3}}, {"partial_rotary_factor", 0.5}}),
              HasSubstr("4 in all"));
  EXPECT_THAT(refused("qwen2_5_vl_text", Json::object()), HasSubstr("found none"));
  EXPECT_THAT(refused("glm4v_text", Json::object()), HasSubstr("8 in all"));
  EXPECT_THAT(refused("qwen2_vl_text", {{"mrope_section", {2, 3, 3}}, {"mrope_interleaved", true}}),
              HasSubstr("\"mrope_interleaved\": expected false"));
  EXPECT_THAT(refused("qwen3_vl_text", {{"mrope_section", {4, 2, 2}}, {"mrope_interleaved", false}}),
              HasSubstr("\"mrope_interleaved\": expected true"));
  EXPECT_THAT(refused("qwen2", {{"mrope_section", {2, 3, 3}}}), HasSubstr("one row of ids"));
  Json bare = axes_config("qwen3_vl_text", Json::object());
  bare.erase("rope_parameters");
  EXPECT_THAT(error_of(bare), HasSubstr("rope_theta"));
}

TEST(RopeAxes, AbsentInterleavedSectionsEndWhereThePairsEnd) {
  const auto scheme = [](const char* type, int64_t head_dim, const Json& rope = Json::object()) {
    Json config = axes_config(type, rope);
    config["head_dim"] = head_dim;
    return parse(config).native_scheme();
  };
  EXPECT_EQ(scheme("qwen3_vl_text", 128), "mrope-interleave:sections=24/20/20");
  EXPECT_EQ(scheme("qwen3_vl_text", 160), "mrope-interleave:sections=40/20/20");
  EXPECT_EQ(scheme("qwen3_vl_text", 16), "mrope-interleave:sections=3/3/2");
  EXPECT_EQ(scheme("qwen3_5_text", 256), "mrope-interleave:sections=11/11/10");
  EXPECT_EQ(scheme("glm4v_text", 128, {{"partial_rotary_factor", 0.5}}),
            "mrope:sections=8/12/12,temporal_stride=1");
}

TEST(RopeAxes, StandBesideAnyScaling) {
  const Json yarn = {{"type", "yarn"},
                     {"factor", 4.0},
                     {"original_max_position_embeddings", 512},
                     {"mrope_section", {2, 3, 3}}};
  Json old = axes_config("qwen2_5_vl_text", Json::object());
  old.erase("rope_parameters");
  old["rope_scaling"] = yarn;
  const DecoderConfig config = parse(old);
  EXPECT_EQ(config.rope().type, RopeType::kYarn);
  EXPECT_EQ(config.rope().theta, 1e6);
  EXPECT_EQ(config.native_scheme(), "mrope:sections=2/3/3");
  EXPECT_EQ(parse(to_json(config)), config);
  // Without a scaling in the old spelling; its object then says nothing but the axes.
  for (const Json& scaling :
       {Json{{"type", "mrope"}, {"mrope_section", {2, 3, 3}}},
        Json{{"rope_type", "mrope"}, {"mrope_section", {2, 3, 3}}},
        Json{{"rope_type", "default"}, {"type", "default"}, {"mrope_section", {2, 3, 3}}},
        Json{{"mrope_section", {2, 3, 3}}}}) {
    old["rope_scaling"] = scaling;
    EXPECT_EQ(parse(old).rope().type, RopeType::kDefault);
    EXPECT_EQ(parse(old).native_scheme(), "mrope:sections=2/3/3");
  }
  // Other settings keep the axes.
  DecoderConfig overridden = config;
  overridden.rope() = parse_rope_scaling({{"rope_type", "linear"}, {"factor", 2.0}}, config.rope(), "flag");
  EXPECT_EQ(overridden.native_scheme(), config.native_scheme());
  EXPECT_EQ(parse(to_json(overridden)), overridden);
}

TEST(VlmTextConfig, FlatQwenFilesNeedTheirSizes) {
  const Json flat = {{"model_type", "qwen2_vl"},
                     {"architectures", {"Qwen2VLForConditionalGeneration"}},
                     {"hidden_size", 1536},
                     {"num_attention_heads", 12},
                     {"num_key_value_heads", 2},
                     {"intermediate_size", 8960},
                     {"num_hidden_layers", 28},
                     {"vocab_size", 151936},
                     {"rms_norm_eps", 1e-6},
                     {"rope_theta", 1e6},
                     {"tie_word_embeddings", true},
                     {"rope_scaling", {{"type", "mrope"}, {"mrope_section", {16, 24, 24}}}},
                     {"vision_config", {{"depth", 32}}}};
  const DecoderConfig config = parse(flat);
  EXPECT_EQ(config.head_dim, 128);
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_EQ(config.native_scheme(), "mrope:sections=16/24/24,temporal_stride=1");
  EXPECT_THAT(error_of({{"model_type", "qwen2_5_vl"}, {"vision_config", {{"depth", 32}}}}),
              HasSubstr("hidden_size"));
  // A file of the time between has both; the nested one counts.
  Json both = flat;
  both["text_config"] = axes_config("qwen2_vl_text", {{"mrope_section", {2, 3, 3}}});
  EXPECT_EQ(parse(both).hidden_size, 64);
}

TEST(VlmTextConfig, InternVlsOwnFilesNestADecoderOfAnyFamily) {
  Json llm = axes_config("qwen3", Json::object());
  llm.update({{"architectures", {"Qwen3ForCausalLM"}}, {"tie_word_embeddings", false}});
  const Json chat = {{"model_type", "internvl_chat"},
                     {"architectures", {"InternVLChatModel"}},
                     {"tie_word_embeddings", true},
                     {"llm_config", llm},
                     {"vision_config", {{"a", 1}}}};
  const DecoderConfig config = parse(chat);
  EXPECT_EQ(config.model_type, "qwen3");
  EXPECT_FALSE(config.tie_word_embeddings);
  // By its class alone, as some files say it.
  Json by_class = chat;
  by_class["llm_config"].erase("model_type");
  EXPECT_EQ(parse(by_class).model_type, "qwen3");
  Json other = chat;
  other["llm_config"]["model_type"] = "internlm2";
  EXPECT_THAT(error_of(other), HasSubstr("internlm2"));
}

TEST(VlmTextConfig, AbsentKeysAreThoseOfTheClass) {
  // google/gemma-3-4b-it says no more than this.
  const DecoderConfig gemma = parse({{"model_type", "gemma3"},
                                     {"eos_token_id", {1, 106}},
                                     {"text_config",
                                      {{"hidden_size", 2560},
                                       {"intermediate_size", 10240},
                                       {"model_type", "gemma3_text"},
                                       {"num_hidden_layers", 34},
                                       {"rope_scaling", {{"factor", 8.0}, {"rope_type", "linear"}}},
                                       {"sliding_window", 1024}}},
                                     {"vision_config", {{"hidden_size", 1152}}}});
  EXPECT_EQ(gemma.num_attention_heads, 8);
  EXPECT_EQ(gemma.num_key_value_heads, 4);
  EXPECT_EQ(gemma.head_dim, 256);
  EXPECT_EQ(gemma.vocab_size, 262208);
  EXPECT_EQ(gemma.layer(5).window, 0);
  EXPECT_EQ(gemma.layer(4).window, 1024);
  EXPECT_EQ(gemma.rope_of(5)->theta, 1e6);
  EXPECT_EQ(gemma.rope_of(5)->factor, 8);
  EXPECT_EQ(gemma.rope_of(4)->theta, 1e4);
  EXPECT_EQ(gemma.rope_of(4)->type, RopeType::kDefault);
  EXPECT_TRUE(gemma.tie_word_embeddings);
  EXPECT_THAT(gemma.eos_token_ids, ElementsAre(1, 106));
  // A Llama inside says its sizes by its class.
  const DecoderConfig llama = parse({{"model_type", "idefics3"}, {"text_config", {{"vocab_size", 128259}}}});
  EXPECT_EQ(llama.model_type, "llama");
  EXPECT_EQ(llama.hidden_size, 4096);
  EXPECT_EQ(llama.vocab_size, 128259);
}

TEST(VlmTextTensors, OpenGvlabsNamesGiveTheSameDecoder) {
  const auto file = open_checkpoint(golden_path("vlm/internvl"));
  const auto part = decoder_part(*file);
  ASSERT_NE(part, nullptr);
  const testing::TemporaryFolder folder;
  std::map<std::string, at::Tensor> tensors;
  for (const TensorInfo& info : file->tensors()) {
    if (info.name.starts_with("language_model.")) tensors[info.name] = file->take(info.name, at::kFloat);
  }
  tensors["vision_model.encoder.layers.0.attn.qkv.weight"] = tensors.begin()->second;
  tensors["mlp1.1.weight"] = tensors.begin()->second;
  testing::write_safetensors(folder.path("model.safetensors"), tensors);
  const auto other = open_checkpoint(folder.path("model.safetensors"));
  const auto found = decoder_part(*other);
  ASSERT_NE(found, nullptr);
  for (const TensorInfo& info : part->tensors()) {
    ASSERT_NE(found->find(info.name), nullptr) << info.name;
    EXPECT_TRUE(at::equal(found->take(info.name, at::kFloat), part->take(info.name, at::kFloat)));
  }
}

}  // namespace
}  // namespace ropescope
