// Absent keys of the decoder families, text parts of vision-language configs, and what is refused.
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/ones.h>

#include "ropescope/architectures/architecture.h"
#include "ropescope/architectures/decoder_memory.h"
#include "ropescope/architectures/decoder_names.h"
#include "ropescope/architectures/gguf_config.h"
#include "ropescope/architectures/open_checkpoint.h"

#include "tests/architectures/parsing.h"
#include "tests/support/golden.h"
#include "tests/support/refusal.h"

namespace ropescope {
namespace {

using testing::error_of;
using testing::parse;

using ::testing::ElementsAre;
using testing::golden_json;
using ::testing::HasSubstr;

/// Sizes only, of a model with 64 = 4 x 16 channels.
Json sizes(const std::string& model_type) {
  return {{"model_type", model_type}, {"vocab_size", 300000},   {"hidden_size", 64},
          {"intermediate_size", 128}, {"num_hidden_layers", 8}, {"num_attention_heads", 4},
          {"num_key_value_heads", 4}};
}

Json with(Json config, const Json& changes) {
  config.update(changes);
  return config;
}

std::string kinds_of(const DecoderConfig& decoder) {
  std::string kinds;
  for (const LayerShape& layer : decoder.layers) {
    kinds += layer.window > 0 ? 'S' : layer.chunk > 0 ? 'C' : layer.delta ? 'L' : 'F';
    if (layer.has_qk() && !layer.rotates()) kinds += '-';
  }
  return kinds;
}

TEST(FamilyDefaults, LayersRopesAndTokens) {
  struct Case {
    const char* model_type;
    std::string kinds;
    double theta;
    int64_t max_positions;
    int64_t head_dim;
    bool tied;
    std::vector<int64_t> eos;
  };
  const std::vector<Case> cases = {
      {"qwen3", "FFFFFFFF", 1e4, 32768, 128, false, {}},
      {"qwen3_moe", "FFFFFFFF", 1e4, 32768, 16, false, {}},
      {"gemma2", "SFSFSFSF", 1e4, 8192, 256, true, {1}},
      {"gemma3_text", "SSSSSFSS", 1e6, 131072, 256, true, {1}},
      {"smollm3", "FFFF-FFFF-", 2e6, 32768, 16, true, {128001}},
      {"mistral", "SSSSSSSS", 1e4, 131072, 16, false, {2}},
      {"ministral3", "FFFFFFFF", 1e6, 262144, 128, false, {2}},
      {"phi3", "FFFFFFFF", 1e4, 4096, 16, false, {32000}},
      {"glm4", "FFFFFFFF", 1e4, 131072, 128, false, {151329, 151336, 151338}},
      {"olmo2", "FFFFFFFF", 1e4, 2048, 16, false, {50279}},
      {"olmo3", "SSSFSSSF", 5e5, 2048, 16, false, {50279}},
      {"cohere2", "SSSF-SSSF-", 1e4, 8192, 16, true, {255001}},
      {"granite", "FFFFFFFF", 1e4, 2048, 16, false, {2}},
      {"gpt_oss", "SFSFSFSF", 150000, 131072, 64, false, {}},
      {"deepseek_v3", "FFFFFFFF", 1e4, 4096, 192, false, {1}},
      {"llama4_text", "CCCF-CCCF-", 5e5, 131072, 128, false, {2}},
      {"qwen3_5_text", "LLLFLLLF", 1e4, 32768, 256, false, {}},
      {"gemma4_text", "SSSSSFSF", 1e6, 131072, 256, true, {1}},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.model_type);
    Json config = sizes(one.model_type);
    if (std::string(one.model_type) == "gemma4_text") config["vocab_size"] = 262144;
    const DecoderConfig decoder = parse(config);
    EXPECT_EQ(kinds_of(decoder), one.kinds);
    EXPECT_EQ(decoder.rope().theta, one.theta);
    EXPECT_EQ(decoder.max_position_embeddings, one.max_positions);
    EXPECT_EQ(decoder.head_dim, one.head_dim);
    EXPECT_EQ(decoder.tie_word_embeddings, one.tied);
    EXPECT_EQ(decoder.eos_token_ids, one.eos);
    EXPECT_EQ(parse(to_json(decoder)), decoder);
  }
}

TEST(FamilyDefaults, SettingsOfOneFamily) {
  EXPECT_EQ(parse(sizes("glm4")).rope().partial_rotary_factor, 0.5);
  EXPECT_EQ(
      parse(with(sizes("glm4"), {{"rope_parameters", {{"rope_theta", 5.0}}}})).rope().partial_rotary_factor,
      0.5);
  EXPECT_EQ(parse(sizes("qwen3_5_text")).rope().partial_rotary_factor, 0.25);
  EXPECT_EQ(parse(sizes("granite")).layer(0).score_scale, 1);
  EXPECT_EQ(parse(sizes("gemma2")).layer(0).score_scale, 1 / std::sqrt(256.0));
  EXPECT_EQ(parse(sizes("gemma2")).layer(0).score_softcap, 50);
  EXPECT_EQ(parse(with(sizes("gemma2"), {{"attn_logit_softcapping", nullptr}})).layer(0).score_softcap, 0);
  EXPECT_EQ(parse(with(sizes("gemma3_text"), {{"attn_logit_softcapping", 50.0}})).layer(0).score_softcap, 0);
  EXPECT_EQ(parse(sizes("gemma3_text")).ropes.back().theta, 10000);
  EXPECT_EQ(parse(sizes("cohere2")).logit_scale, 0.0625);
  EXPECT_FALSE(parse(sizes("qwen3_moe")).layer(0).experts->renormalise);
  EXPECT_EQ(parse(sizes("gpt_oss")).rope().factor, 32);
  EXPECT_FALSE(parse(sizes("gpt_oss")).rope().truncate);
  EXPECT_TRUE(parse(sizes("gpt_oss")).attention_out_bias);
  EXPECT_EQ(parse(sizes("ministral3")).layer(0).temperature->period, 16384);
  EXPECT_EQ(parse(sizes("deepseek_v3")).layer(2).inner, 128);
  EXPECT_EQ(parse(sizes("deepseek_v3")).layer(3).experts->count, 256);
  EXPECT_EQ(parse(with(sizes("gemma4_text"), {{"vocab_size", 262144}})).layer(5).head_dim, 512);
  EXPECT_EQ(parse(with(sizes("deepseek_v3"), {{"rope_interleave", false}})).pairing, PairLayout::kHalfSplit);
  // Qwen3 ignores a window that is not in use; SmolLM3 gives one to the layers that do not rotate.
  EXPECT_EQ(kinds_of(parse(with(sizes("qwen3"), {{"sliding_window", 16}, {"max_window_layers", 2}}))),
            "FFFFFFFF");
  EXPECT_EQ(kinds_of(parse(with(sizes("smollm3"), {{"use_sliding_window", true}, {"sliding_window", 16}}))),
            "FFFS-FFFS-");
  // An old olmo3 file has one base for both kinds.
  EXPECT_EQ(parse(with(sizes("olmo3"), {{"rope_theta", 7.0}})).ropes.size(), 1U);
  EXPECT_EQ(parse(with(sizes("olmo3"), {{"rope_theta", 7.0}})).rope().theta, 7);
}

TEST(FamilyDefaults, YarnOfOneKindOfLayersIsRounded) {
  const Json yarn = {
      {"rope_type", "yarn"}, {"factor", 4.0}, {"truncate", false}, {"original_max_position_embeddings", 512}};
  EXPECT_TRUE(parse(with(sizes("olmo3"), {{"rope_parameters", {{"full_attention", yarn}}}})).rope().truncate);
  EXPECT_FALSE(parse(with(sizes("olmo2"), {{"rope_parameters", yarn}})).rope().truncate);
}

TEST(FamilyDefaults, TextPartsOfVisionLanguageModels) {
  const Json text = {{"hidden_size", 64}, {"num_hidden_layers", 6}, {"model_type", "gemma3_text"}};
  const DecoderConfig gemma = parse({{"model_type", "gemma3"},
                                     {"architectures", {"Gemma3ForConditionalGeneration"}},
                                     {"eos_token_id", {1, 106}},
                                     {"text_config", text},
                                     {"vision_config", {{"hidden_size", 32}}}});
  EXPECT_EQ(gemma.model_type, "gemma3_text");
  EXPECT_EQ(gemma.vocab_size, 262208);
  EXPECT_EQ(gemma.num_attention_heads, 8);
  EXPECT_EQ(gemma.num_key_value_heads, 4);
  EXPECT_EQ(gemma.head_dim, 256);
  EXPECT_THAT(gemma.eos_token_ids, ElementsAre(1, 106));
  for (const auto& [outer, family] :
       {std::pair("llama4", "llama4_text"), std::pair("qwen3_5", "qwen3_5_text"),
        std::pair("gemma4", "gemma4_text"), std::pair("mistral3", "ministral3")}) {
    const Json config = {
        {"model_type", outer}, {"text_config", {{"num_hidden_layers", 4}}}, {"vision_config", {{"a", 1}}}};
    EXPECT_EQ(parse(config).model_type, family);
  }
  const Json mistral = {{"model_type", "mistral3"},
                        {"text_config", with(sizes("mistral"), {{"sliding_window", nullptr}})}};
  EXPECT_EQ(parse(mistral).model_type, "llama");
  const Json tied = {
      {"model_type", "qwen3_5"}, {"tie_word_embeddings", true}, {"text_config", {{"num_hidden_layers", 4}}}};
  EXPECT_TRUE(parse(tied).tie_word_embeddings);
  EXPECT_THAT(error_of({{"model_type", "pixtral"}, {"text_config", sizes("llama")}}),
              HasSubstr("vision-language"));
}

TEST(FamilyDefaults, ClassNamesStandForTheTypes) {
  for (const Architecture* family : architectures()) {
    EXPECT_EQ(find_architecture("", family->classes.front()), family);
    EXPECT_EQ(find_architecture(family->model_types.front(), ""), family);
    EXPECT_FALSE(family->summary.empty());
    for (const GgufNames& names : family->gguf) EXPECT_NE(find_gguf_names(names.architecture), nullptr);
  }
  EXPECT_EQ(find_architecture("gpt2", "LlamaForCausalLM"), nullptr);
}

TEST(FamilyDefaults, QuantisedFilesThatCanBeRead) {
  EXPECT_EQ(error_of(with(sizes("gpt_oss"), {{"quantization_config", {{"quant_method", "mxfp4"}}}})), "");
  EXPECT_EQ(error_of(with(sizes("deepseek_v3"), {{"quantization_config", {{"quant_method", "fp8"}}}})), "");
  EXPECT_THAT(error_of(with(sizes("gpt_oss"), {{"quantization_config", {{"quant_method", "fp8"}}}})),
              HasSubstr("another runtime"));
  EXPECT_THAT(error_of(with(sizes("qwen3"), {{"quantization_config", {{"quant_method", "mxfp4"}}}})),
              HasSubstr("another runtime"));
}

TEST(FamilyDefaults, RefusalsNameTheKey) {
  const auto refused = [](const char* type, const Json& changes) {
    return error_of(with(sizes(type), changes));
  };
  EXPECT_THAT(refused("gemma2", {{"layer_types", {"full_attention"}}}), HasSubstr("list of 8 kinds"));
  EXPECT_THAT(
      refused("qwen3_5_text", {{"layer_types", Json(std::vector<std::string>(8, "sliding_attention"))}}),
      HasSubstr("linear_attention for layer 0, found \"sliding_attention\""));
  EXPECT_THAT(refused("gemma2", {{"sliding_window", nullptr}}),
              HasSubstr("expected a number of tokens for layer 0"));
  EXPECT_THAT(refused("gemma2", {{"sliding_window", 0}}), HasSubstr("at least 1"));
  EXPECT_THAT(refused("gemma2", {{"hidden_activation", "silu"}}), HasSubstr("expected gelu_pytorch_tanh"));
  EXPECT_THAT(refused("gemma3_text", {{"use_bidirectional_attention", true}}), HasSubstr("bidirectional"));
  EXPECT_THAT(refused("gemma3_text", {{"rope_parameters", {{"rope_theta", 1.0}}}}),
              HasSubstr("one object a kind"));
  EXPECT_THAT(refused("gemma3_text", {{"sliding_window_pattern", 0}}), HasSubstr("sliding_window_pattern"));
  EXPECT_THAT(refused("smollm3", {{"no_rope_layers", {1, 0}}}), HasSubstr("one number a layer (8)"));
  EXPECT_THAT(refused("smollm3", {{"no_rope_layers", {1, 1, 1, 2, 1, 1, 1, 1}}}),
              HasSubstr("0 or 1, found 2"));
  EXPECT_THAT(refused("qwen3_moe", {{"num_experts_per_tok", 200}}), HasSubstr("experts a token"));
  EXPECT_THAT(refused("qwen3_moe", {{"decoder_sparse_step", 0}}), HasSubstr("decoder_sparse_step"));
  EXPECT_THAT(refused("deepseek_v3", {{"scoring_func", "softmax"}}), HasSubstr("scoring_func"));
  EXPECT_THAT(refused("deepseek_v3", {{"n_group", 7}}), HasSubstr("divide 256 experts"));
  EXPECT_THAT(refused("deepseek_v3", {{"kv_lora_rank", 0}}), HasSubstr("kv_lora_rank"));
  EXPECT_THAT(refused("llama4_text", {{"moe_layers", {8}}}), HasSubstr("numbers below 8"));
  EXPECT_THAT(refused("qwen3_5_text", {{"linear_num_value_heads", 17}}),
              HasSubstr("divide linear_num_value_heads"));
  const Json gemma4 = {{"vocab_size", 262144}};
  EXPECT_THAT(refused("gemma4_text", with(gemma4, {{"num_kv_shared_layers", 8}})), HasSubstr("from 0 to 7"));
  EXPECT_THAT(
      refused("gemma4_text",
              with(gemma4, {{"num_kv_shared_layers", 7},
                            {"layer_types", Json(std::vector<std::string>(8, "sliding_attention"))}})),
      HasSubstr("no earlier layer"));
  EXPECT_THAT(refused("gemma4_text", with(gemma4, {{"per_layer_config", {{"8", {{"head_dim", 4}}}}}})),
              HasSubstr("one of 8 layers"));
  EXPECT_THAT(refused("gemma4_text", with(gemma4, {{"per_layer_config", {{"1", {{"sliding_window", 4}}}}}})),
              HasSubstr("sliding_window"));
  EXPECT_THAT(refused("phi3", {{"rope_scaling", {{"type", "su"}, {"long_factor", {1.0}}}}}),
              HasSubstr("short_factor"));
}

TEST(Longrope, IsReadInBothNamesAndWrittenBack) {
  const Json scaling = {{"type", "su"},
                        {"short_factor", {1.0, 1.5}},
                        {"long_factor", {2.0, 3.0}},
                        {"original_max_position_embeddings", 64},
                        {"factor", 4.0}};
  const RopeConfig rope = parse_rope_scaling(scaling, {}, "flag");
  EXPECT_EQ(rope.type, RopeType::kLongrope);
  EXPECT_TRUE(depends_on_length(rope));
  EXPECT_EQ(parse_rope_scaling(to_json(rope), {}, "flag"), rope);
  const auto at_length = [&](double tokens) { return make_frequencies(rope, 4, 256, tokens); };
  const double second = 1.0 / 100;  // 10000^(-1/2)
  EXPECT_DOUBLE_EQ(at_length(64).inv_freq[1].item<double>(), second / 1.5);
  EXPECT_DOUBLE_EQ(at_length(65).inv_freq[1].item<double>(), second / 3);
  const double scale = std::sqrt(1 + std::log(4.0) / std::log(64.0));
  EXPECT_DOUBLE_EQ(at_length(64).attention_scale, scale);
  EXPECT_DOUBLE_EQ(at_length(65).attention_scale, scale);
  RopeConfig by_lengths = rope;
  by_lengths.factor = 1;  // not given: the two lengths say it
  EXPECT_DOUBLE_EQ(make_frequencies(by_lengths, 4, 256, 1).attention_scale, scale);
  EXPECT_EQ(parse_rope_scaling(to_json(by_lengths), {}, "flag"), by_lengths);
  RopeConfig given = rope;
  given.attention_factor = 1.25;
  EXPECT_EQ(make_frequencies(given, 4, 256, 1).attention_scale, 1.25);
  EXPECT_THAT(testing::refusal_of([&] { make_frequencies(rope, 8, 256, 1); }),
              HasSubstr("expected 4 numbers, found 2"));
}

TEST(Llama3Scaling, MayHaveNoMiddleBand) {
  const RopeConfig rope = parse_rope_scaling({{"rope_type", "llama3"},
                                              {"factor", 8.0},
                                              {"low_freq_factor", 1.0},
                                              {"high_freq_factor", 1.0},
                                              {"original_max_position_embeddings", 64}},
                                             {}, "flag");
  const Frequencies scaled = make_frequencies(rope, 8, 64, 1);
  const Frequencies plain = make_frequencies({}, 8, 64, 1);
  EXPECT_EQ(scaled.inv_freq[0].item<double>(), plain.inv_freq[0].item<double>());
  EXPECT_EQ(scaled.inv_freq[1].item<double>(),
            plain.inv_freq[1].item<double>() * (2 * M_PI / 0.1 < 64 ? 1 : 1.0 / 8));
  EXPECT_EQ(scaled.inv_freq[3].item<double>(), plain.inv_freq[3].item<double>() / 8);
}

/// A GGUF file's metadata of 8 layers with 4 heads.
GgufContents contents_of(const std::string& architecture) {
  GgufContents contents;
  contents.version = 3;
  const auto set = [&](const char* key, GgufValue value) {
    contents.metadata[architecture + "." + key] = std::move(value);
  };
  contents.metadata["general.architecture"] = architecture;
  set("embedding_length", uint64_t{64});
  set("feed_forward_length", uint64_t{128});
  set("block_count", uint64_t{8});
  set("attention.head_count", uint64_t{4});
  set("context_length", uint64_t{4096});
  set("vocab_size", uint64_t{100});
  set("attention.layer_norm_rms_epsilon", double{1e-5F});
  return contents;
}

std::string gguf_error_of(const GgufContents& contents) {
  return testing::refusal_of([&] { gguf_decoder_config(contents, {}, "m.gguf"); });
}

TEST(GgufFamilies, WhatAFileCannotSayIsWhatPublishedModelsHave) {
  EXPECT_EQ(kinds_of(gguf_decoder_config(contents_of("smollm3"), {}, "m.gguf")), "FFFF-FFFF-");
  EXPECT_EQ(kinds_of(gguf_decoder_config(contents_of("gemma2"), {}, "m.gguf")), "SFSFSFSF");
  GgufContents gemma = contents_of("gemma3");
  EXPECT_EQ(kinds_of(gguf_decoder_config(gemma, {}, "m.gguf")), "FFFFFFFF");
  gemma.metadata["gemma3.attention.sliding_window"] = uint64_t{16};
  EXPECT_EQ(kinds_of(gguf_decoder_config(gemma, {}, "m.gguf")), "SSSSSFSS");
  EXPECT_EQ(gguf_decoder_config(gemma, {}, "m.gguf").layer(0).score_scale, 0.25);
  gemma.metadata["gemma3.block_count"] = uint64_t{62};  // the 27B's: hidden size / heads
  gemma.metadata["gemma3.attention.key_length"] = uint64_t{8};
  EXPECT_EQ(gguf_decoder_config(gemma, {}, "m.gguf").layer(0).score_scale, 0.25);
  GgufContents qwen = contents_of("qwen3");
  qwen.metadata["qwen3.nextn_predict_layers"] = uint64_t{1};
  EXPECT_EQ(gguf_decoder_config(qwen, {}, "m.gguf").num_hidden_layers, 7);
}

TEST(GgufFamilies, RefusalsNameTheKey) {
  EXPECT_THAT(gguf_error_of(contents_of("mamba")), HasSubstr("expected one of llama, qwen2"));
  GgufContents smollm = contents_of("smollm3");
  smollm.metadata["smollm3.rope.dimension_count"] = uint64_t{8};
  EXPECT_THAT(gguf_error_of(smollm), HasSubstr("expected the head size 16, found 8"));
  EXPECT_THAT(gguf_error_of(contents_of("deepseek2")), HasSubstr("expert_gating_func: expected 2"));
  EXPECT_THAT(gguf_error_of(contents_of("qwen35")), HasSubstr("ssm.group_count"));
  EXPECT_THAT(gguf_error_of(contents_of("gpt-oss")), HasSubstr("attention.sliding_window"));
  GgufContents qwen = contents_of("qwen3");
  qwen.metadata["qwen3.rope.scaling.type"] = std::string("yarn");
  qwen.metadata["qwen3.rope.scaling.factor"] = 4.0;
  qwen.metadata["qwen3.rope.scaling.yarn_log_multiplier"] = 1.0;
  EXPECT_THAT(gguf_error_of(qwen), HasSubstr("yarn_log_multiplier is not supported"));
  GgufContents gemma = contents_of("gemma3");
  gemma.metadata["gemma3.attention.sliding_window_pattern"] = uint64_t{0};
  EXPECT_THAT(gguf_error_of(gemma), HasSubstr("sliding_window_pattern: expected at least 1"));
}

TEST(GgufFamilies, FactorsWithoutARamp) {
  // Llama 4 Scout's: factor 16, both bounds 1, of 8192 tokens.
  RopeConfig scout;
  scout.theta = 500000;
  scout.type = RopeType::kLlama3;
  scout.factor = 16;
  scout.low_freq_factor = scout.high_freq_factor = 1;
  for (const int64_t length : {8192, 5000}) {
    scout.original_max_position_embeddings = length;
    RopeConfig plain;
    plain.theta = scout.theta;
    const at::Tensor before = make_frequencies(plain, 128, 131072, 1).inv_freq;
    const at::Tensor after = make_frequencies(scout, 128, 131072, 1).inv_freq;
    std::vector<float> factors;
    for (int64_t i = 0; i < before.numel(); ++i) {
      factors.push_back(static_cast<float>(before[i].item<double>() / after[i].item<double>()));
    }
    const RopeConfig found = rope_config_from_factors(factors, plain, "m.gguf");
    EXPECT_TRUE(testing::all_close(make_frequencies(found, 128, 131072, 1).inv_freq, after, 0, 1e-6));
  }
}

TEST(DecoderMemory, WindowsBoundTheCache) {
  const DecoderConfig decoder = parse(sizes("gemma2"));
  const DecoderMemory memory = estimate_decoder_memory(decoder, "config.json");
  const int64_t kept = 2 * decoder.num_key_value_heads * decoder.head_dim;
  EXPECT_EQ(memory.kv_cache_per_token, 4 * kept);
  EXPECT_EQ(memory.kv_cache_bounded, 4 * 4096 * kept);
  EXPECT_EQ(memory.kv_cache(10), 10 * memory.kv_cache_per_token + memory.kv_cache_bounded);
}

TEST(DecoderNames, PrefixesOfVisionLanguageFilesAreTakenOff) {
  const testing::TemporaryFolder folder;
  const at::Tensor one = at::ones({1});
  const auto names_of = [&](const std::vector<std::string>& stored) {
    std::map<std::string, at::Tensor> tensors;
    for (const std::string& name : stored) tensors[name] = one;
    testing::write_safetensors(folder.path("model.safetensors"), tensors);
    const auto file = open_checkpoint(folder.path("model.safetensors"));
    const auto part = decoder_part(*file);
    std::vector<std::string> names;
    for (const TensorInfo& info : (part ? *part : *file).tensors()) names.push_back(info.name);
    return names;
  };
  EXPECT_THAT(names_of({"model.language_model.embed_tokens.weight",
                        "model.language_model.layers.0.linear_attn.out_proj.weight", "lm_head.weight",
                        "mtp.layers.0.self_attn.q_proj.weight", "model.visual.blocks.0.attn.qkv.weight"}),
              ElementsAre("lm_head.weight", "model.embed_tokens.weight",
                          "model.layers.0.linear_attn.out_proj.weight"));
  EXPECT_THAT(names_of({"language_model.model.layers.0.self_attn.q_proj.weight",
                        "language_model.lm_head.weight", "vision_model.layers.0.self_attn.q_proj.weight"}),
              ElementsAre("lm_head.weight", "model.layers.0.self_attn.q_proj.weight"));
}

}  // namespace
}  // namespace ropescope
