// config.json in its spellings, GGUF metadata, and settings that no decoder has.
#include "ropescope/architectures/decoder_config.h"

#include <cmath>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/architectures/gguf_config.h"
#include "ropescope/core/errors.h"

#include "tests/architectures/parsing.h"
#include "tests/support/golden.h"
#include "tests/support/refusal.h"

namespace ropescope {
namespace {

using testing::error_of;
using testing::parse;

using ::testing::ElementsAre;
using testing::golden_json;
using testing::golden_path;
using ::testing::HasSubstr;
using testing::TemporaryFolder;

/// Every field, so that two configs are the same when their texts are.
std::string text_of(const RopeConfig& rope) {
  const auto number = [](const auto& value) { return value ? fmt::format("{}", *value) : std::string("-"); };
  return fmt::format(
      "theta {} {} factor {} M {} attention {} mscale {} {} beta {} {} truncate {} freq {} {} partial {}",
      rope.theta, rope_type_name(rope.type), rope.factor, number(rope.original_max_position_embeddings),
      number(rope.attention_factor), number(rope.mscale), number(rope.mscale_all_dim), rope.beta_fast,
      rope.beta_slow, rope.truncate, rope.low_freq_factor, rope.high_freq_factor, rope.partial_rotary_factor);
}

Json llama_config() {
  return {{"model_type", "llama"},    {"vocab_size", 100},      {"hidden_size", 64},
          {"intermediate_size", 128}, {"num_hidden_layers", 2}, {"num_attention_heads", 4}};
}

class ConfigSpellings : public ::testing::TestWithParam<const char*> {};

TEST_P(ConfigSpellings, AllMeanTheSame) {
  const std::string folder = std::string("language/") + GetParam() + "/configs/";
  const Json expected = golden_json(folder + "expected_inv_freq.json");
  for (const auto& [variant, truth] : expected.items()) {
    SCOPED_TRACE(variant);
    std::vector<DecoderConfig> decoders;
    for (const char* spelling : {"old", "mid", "new"}) {
      decoders.push_back(parse(golden_json(folder + variant + "." + spelling + ".json")));
      EXPECT_EQ(text_of(decoders.back().rope()), text_of(decoders.front().rope())) << spelling;
    }
    const DecoderConfig& decoder = decoders.front();
    EXPECT_EQ(decoder.head_dim, 16);
    constexpr int64_t kTokens = 12;  // the length of the golden dynamic state
    const Frequencies frequencies =
        make_frequencies(decoder.rope(), decoder.head_dim, decoder.max_position_embeddings, kTokens);
    const auto inv_freq = truth.at("inv_freq").get<std::vector<double>>();
    ASSERT_EQ(frequencies.inv_freq.numel(), static_cast<int64_t>(inv_freq.size()));
    for (size_t i = 0; i < inv_freq.size(); ++i) {
      EXPECT_NEAR(frequencies.inv_freq.const_data_ptr<double>()[i] / inv_freq[i], 1, 1e-6);
    }
    EXPECT_NEAR(frequencies.attention_scale, truth.at("attention_scaling").get<double>(), 1e-6);
  }
}

INSTANTIATE_TEST_SUITE_P(Golden, ConfigSpellings, ::testing::Values("llama-tiny", "qwen2-tiny"),
                         [](const auto& test) { return std::string(test.param).substr(0, 5); });

TEST(DecoderConfig, AbsentKeysTakeTheDefaultsOfTheirClass) {
  const DecoderConfig llama = parse(llama_config());
  EXPECT_EQ(llama.num_key_value_heads, 4);
  EXPECT_EQ(llama.head_dim, 16);
  EXPECT_EQ(llama.rope().theta, 10000);
  EXPECT_EQ(llama.max_position_embeddings, 2048);
  EXPECT_FALSE(llama.tie_word_embeddings);
  EXPECT_FALSE(llama.attention_bias);
  EXPECT_THAT(llama.eos_token_ids, ElementsAre(2));
  EXPECT_EQ(llama.bos_token_id, 1);

  Json config = llama_config();
  config["model_type"] = "qwen2";
  const DecoderConfig qwen2 = parse(config);
  EXPECT_TRUE(qwen2.attention_bias);
  EXPECT_FALSE(qwen2.attention_out_bias);
  EXPECT_EQ(qwen2.max_position_embeddings, 32768);
  EXPECT_TRUE(qwen2.eos_token_ids.empty());
  EXPECT_FALSE(qwen2.bos_token_id.has_value());
}

TEST(DecoderConfig, GivenKeysAreTaken) {
  Json config = llama_config();
  config.update({{"head_dim", 32},
                 {"num_key_value_heads", 2},
                 {"attention_bias", true},
                 {"mlp_bias", true},
                 {"eos_token_id", {7, 3, 7, -1, 500}},
                 {"bos_token_id", nullptr},
                 {"partial_rotary_factor", 0.5},
                 {"rope_theta", 5e5}});
  const DecoderConfig decoder = parse(config);
  EXPECT_EQ(decoder.head_dim, 32);
  EXPECT_TRUE(decoder.attention_out_bias && decoder.mlp_bias);
  EXPECT_THAT(decoder.eos_token_ids, ElementsAre(3, 7));  // -1 and 500 are no tokens of 100
  EXPECT_FALSE(decoder.bos_token_id.has_value());
  EXPECT_EQ(decoder.rope().partial_rotary_factor, 0.5);
  EXPECT_EQ(decoder.rope().theta, 5e5);
}

TEST(DecoderConfig, GenerationConfigAddsEndTokens) {
  const TemporaryFolder folder;
  Json config = llama_config();
  config["eos_token_id"] = 2;
  std::ofstream(folder.path("config.json")) << config;
  std::ofstream(folder.path("generation_config.json")) << R"({"eos_token_id": [9, 2]})";
  EXPECT_THAT(read_decoder_config(folder.path("")).eos_token_ids, ElementsAre(2, 9));
}

TEST(DecoderConfig, OtherDecodersAreRefusedByName) {
  const auto with = [](const Json& changes) {
    Json config = llama_config();
    config.update(changes);
    return error_of(config);
  };
  EXPECT_THAT(with({{"model_type", "gpt2"}}), HasSubstr("found \"gpt2\""));
  EXPECT_THAT(with({{"model_type", "llava"}, {"text_config", {{"hidden_size", 1}}}}), HasSubstr("vision"));
  EXPECT_THAT(with({{"model_type", "llava_llama"}}), HasSubstr("vision"));
  EXPECT_THAT(with({{"quantization_config", {{"bits", 4}}}}), HasSubstr("quantization_config"));
  EXPECT_THAT(with({{"hidden_act", "gelu"}}), HasSubstr("expected silu"));
}

TEST(DecoderConfig, WindowsOfMistralAndQwen2) {
  const auto with = [](const Json& changes) {
    Json config = llama_config();
    config.update(changes);
    return parse(config);
  };
  const auto windows = [](const DecoderConfig& decoder) {
    std::vector<int64_t> found;
    for (const LayerShape& layer : decoder.layers) found.push_back(layer.window);
    return found;
  };
  const Json mistral = {{"model_type", "mistral"}, {"num_key_value_heads", 2}};
  EXPECT_THAT(windows(with(mistral)), ElementsAre(4096, 4096));  // what the class assumes
  EXPECT_EQ(with(mistral).model_type, "mistral");
  Json none = mistral;
  none["sliding_window"] = nullptr;
  EXPECT_THAT(windows(with(none)), ElementsAre(0, 0));
  EXPECT_EQ(with(none).model_type, "llama");
  none["sliding_window"] = 131072;  // no run of the trained length fills it
  EXPECT_EQ(with(none).model_type, "llama");

  Json qwen2 = {{"model_type", "qwen2"}, {"use_sliding_window", true}, {"sliding_window", 64}};
  qwen2["max_window_layers"] = 1;
  EXPECT_THAT(windows(with(qwen2)), ElementsAre(0, 64));
  EXPECT_EQ(with(qwen2), parse(to_json(with(qwen2))));
  qwen2["max_window_layers"] = 2;
  EXPECT_THAT(windows(with(qwen2)), ElementsAre(0, 0));
  qwen2["layer_types"] = {"sliding_attention", "full_attention"};
  EXPECT_THAT(windows(with(qwen2)), ElementsAre(64, 0));
  qwen2["use_sliding_window"] = false;
  EXPECT_THAT(windows(with(qwen2)), ElementsAre(0, 0));
}

TEST(DecoderConfig, ImpossibleSizesAreRefused) {
  const auto with = [](const char* key, const Json& value) {
    Json config = llama_config();
    config[key] = value;
    return error_of(config);
  };
  for (const char* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                          "num_attention_heads", "num_key_value_heads", "head_dim"}) {
    for (const Json& value : {Json(0), Json(-4), Json(1e18), Json(2.5), Json("4"), Json(UINT64_MAX)}) {
      EXPECT_THAT(with(key, value), HasSubstr(key)) << value;
    }
  }
  EXPECT_THAT(with("num_attention_heads", 3), HasSubstr("divide hidden_size"));
  EXPECT_THAT(with("num_key_value_heads", 3), HasSubstr("divide num_attention_heads"));
  EXPECT_THAT(with("head_dim", INT32_MAX), HasSubstr("too many"));
  EXPECT_THAT(with("rms_norm_eps", 0), HasSubstr("rms_norm_eps"));
  EXPECT_THAT(with("rope_theta", -1), HasSubstr("rope_theta"));
  EXPECT_THAT(with("rope_scaling", {{"type", "linear"}}), HasSubstr("factor"));
  EXPECT_THAT(with("rope_scaling", {{"type", "longrope"}, {"factor", 2}}), HasSubstr("longrope"));
  EXPECT_THAT(with("rope_scaling", {{"factor", 2}}), HasSubstr("rope_type"));
  EXPECT_THAT(with("rope_scaling", {{"type", "yarn"}, {"factor", -2}}), HasSubstr("above 0"));
  EXPECT_THAT(with("rope_parameters", {{"full_attention", {{"rope_type", "default"}}}}),
              HasSubstr("layer type"));
  EXPECT_THAT(error_of(Json::array()), HasSubstr("object"));
  Json missing = llama_config();
  missing.erase("hidden_size");
  EXPECT_THAT(error_of(missing), HasSubstr("\"hidden_size\" is missing"));
}

TEST(RopeScaling, SitsOnTopOfTheCheckpointsOwn) {
  RopeConfig base;
  base.theta = 1e6;
  base.type = RopeType::kYarn;
  base.factor = 4;
  base.partial_rotary_factor = 0.5;
  const RopeConfig linear = parse_rope_scaling({{"type", "linear"}, {"factor", 2}}, base, "--rope-scaling");
  EXPECT_EQ(text_of(linear).substr(0, 39), "theta 1000000 linear factor 2 M - atten");
  EXPECT_EQ(linear.partial_rotary_factor, 0.5);
  const RopeConfig plain = parse_rope_scaling({{"rope_type", "default"}}, base, "--rope-scaling");
  EXPECT_EQ(plain.type, RopeType::kDefault);
  EXPECT_EQ(plain.factor, 1);
  EXPECT_EQ(plain.theta, 1e6);
  const RopeConfig ntk = parse_rope_scaling({{"rope_type", "ntk"}, {"factor", 8}}, base, "--rope-scaling");
  EXPECT_EQ(ntk.type, RopeType::kNtk);
  const RopeConfig proportional = parse_rope_scaling(
      {{"rope_type", "proportional"}, {"partial_rotary_factor", 0.25}, {"rope_theta", 2e4}}, base, "flag");
  EXPECT_EQ(proportional.type, RopeType::kProportional);
  EXPECT_EQ(proportional.partial_rotary_factor, 0.25);
  EXPECT_EQ(proportional.theta, 2e4);
  EXPECT_THROW(parse_rope_scaling(Json::array(), base, "flag"), InputError);
}

TEST(RopeScaling, YarnMayLeaveTheFactorToTheTwoLengths) {
  Json config = llama_config();
  config["max_position_embeddings"] = 256;
  config["rope_scaling"] = {{"type", "yarn"}, {"original_max_position_embeddings", 64}};
  EXPECT_EQ(parse(config).rope().factor, 4);
  config["original_max_position_embeddings"] = 32;  // the top level wins, as in transformers
  EXPECT_EQ(parse(config).rope().factor, 8);
}

TEST(GgufConfig, SaysWhatConfigJsonSays) {
  for (const auto& [file, folder] :
       {std::pair("language/llama-tiny/gguf/llama-tiny-Q8_0.gguf", "language/llama-tiny/safetensors-fp32"),
        std::pair("language/qwen2-tiny/gguf/qwen2-tiny-F16.gguf",
                  "language/qwen2-tiny/safetensors-bf16-tied")}) {
    SCOPED_TRACE(file);
    const DecoderConfig gguf = read_decoder_config(golden_path(file));
    const DecoderConfig json = read_decoder_config(golden_path(folder));
    EXPECT_EQ(gguf.model_type, json.model_type);
    EXPECT_EQ(gguf.vocab_size, json.vocab_size);
    EXPECT_EQ(gguf.hidden_size, json.hidden_size);
    EXPECT_EQ(gguf.intermediate_size, json.intermediate_size);
    EXPECT_EQ(gguf.num_hidden_layers, json.num_hidden_layers);
    EXPECT_EQ(gguf.num_attention_heads, json.num_attention_heads);
    EXPECT_EQ(gguf.num_key_value_heads, json.num_key_value_heads);
    EXPECT_EQ(gguf.head_dim, json.head_dim);
    EXPECT_FLOAT_EQ(static_cast<float>(gguf.rms_norm_eps), static_cast<float>(json.rms_norm_eps));
    EXPECT_EQ(gguf.max_position_embeddings, json.max_position_embeddings);
    EXPECT_EQ(gguf.tie_word_embeddings, json.tie_word_embeddings);
    EXPECT_EQ(gguf.attention_bias, json.attention_bias);
    EXPECT_EQ(gguf.attention_out_bias, json.attention_out_bias);
    EXPECT_EQ(gguf.eos_token_ids, json.eos_token_ids);
    EXPECT_EQ(gguf.bos_token_id, json.bos_token_id);
    EXPECT_EQ(text_of(gguf.rope()), text_of(json.rope()));
  }
}

GgufContents llama_contents() {
  GgufContents contents;
  contents.version = 3;
  contents.metadata = {{"general.architecture", std::string("llama")},
                       {"llama.embedding_length", uint64_t{256}},
                       {"llama.feed_forward_length", uint64_t{128}},
                       {"llama.block_count", uint64_t{2}},
                       {"llama.attention.head_count", uint64_t{2}},
                       {"llama.context_length", uint64_t{4096}},
                       {"llama.vocab_size", uint64_t{10}},
                       {"llama.rope.freq_base", 500000.0}};
  return contents;
}

TEST(GgufConfig, ReadsScalingKeys) {
  GgufContents contents = llama_contents();
  contents.metadata["llama.rope.scaling.type"] = std::string("yarn");
  contents.metadata["llama.rope.scaling.factor"] = 4.0;
  contents.metadata["llama.rope.scaling.original_context_length"] = uint64_t{1024};
  RopeConfig rope = gguf_decoder_config(contents, {}, "m.gguf").rope();
  EXPECT_EQ(text_of(rope).substr(0, 43), "theta 500000 yarn factor 4 M 1024 attention");
  EXPECT_FALSE(rope.attention_factor.has_value());
  contents.metadata["llama.rope.scaling.attn_factor"] = 0.5;
  rope = gguf_decoder_config(contents, {}, "m.gguf").rope();
  EXPECT_NEAR(rope.attention_factor.value(), 0.5 * (0.1 * std::log(4.0) + 1), 1e-12);
  contents.metadata["llama.rope.scaling.type"] = std::string("longrope");
  EXPECT_THROW(gguf_decoder_config(contents, {}, "m.gguf"), InputError);
  contents.metadata["llama.rope.scaling.type"] = std::string("none");
  EXPECT_EQ(gguf_decoder_config(contents, {}, "m.gguf").rope().type, RopeType::kDefault);
  contents.metadata["llama.rope.dimension_count"] = uint64_t{64};
  EXPECT_THROW(gguf_decoder_config(contents, {}, "m.gguf"), InputError);
}

/// The factors that llama.cpp's converter writes for llama3 settings, in float32.
std::vector<float> factors_of(const RopeConfig& llama3, int64_t head_dim) {
  RopeConfig plain;
  plain.theta = llama3.theta;
  const at::Tensor before = make_frequencies(plain, head_dim, 131072, 1).inv_freq;
  const at::Tensor after = make_frequencies(llama3, head_dim, 131072, 1).inv_freq;
  std::vector<float> factors;
  for (int64_t i = 0; i < before.numel(); ++i) {
    factors.push_back(
        static_cast<float>(before.const_data_ptr<double>()[i] / after.const_data_ptr<double>()[i]));
  }
  return factors;
}

TEST(GgufConfig, FrequencyFactorsBecomeTheLlama3SettingsTheyCameFrom) {
  RopeConfig settings;
  settings.theta = 500000;
  settings.type = RopeType::kLlama3;
  for (const auto& [factor, high, length, head_dim] :
       {std::tuple(8.0, 4.0, 8192, 128), std::tuple(32.0, 4.0, 8192, 64), std::tuple(16.0, 6.5, 2048, 128)}) {
    settings.factor = factor;
    settings.high_freq_factor = high;
    settings.original_max_position_embeddings = length;
    RopeConfig base;
    base.theta = settings.theta;
    const RopeConfig found = rope_config_from_factors(factors_of(settings, head_dim), base, "m.gguf");
    EXPECT_EQ(text_of(found), text_of(settings));
  }
  RopeConfig base;
  EXPECT_EQ(rope_config_from_factors(std::vector<float>(8, 1.0F), base, "m.gguf").type, RopeType::kDefault);
  EXPECT_THROW(rope_config_from_factors(std::vector<float>{1, 2, 1, 3}, base, "m.gguf"), InputError);
  EXPECT_THROW(rope_config_from_factors(std::vector<float>{1, NAN}, base, "m.gguf"), InputError);
}

TEST(GgufConfig, FactorsInAFileAreHonoured) {
  RopeConfig settings;
  settings.theta = 500000;
  settings.type = RopeType::kLlama3;
  settings.factor = 8;
  settings.original_max_position_embeddings = 8192;
  const std::vector<float> factors = factors_of(settings, 128);
  GgufContents contents = llama_contents();
  contents.tensors.push_back({"rope_freqs.weight", GgmlType::kF32, {64}, 0, 256});
  const auto bytes = std::as_bytes(std::span(factors));
  EXPECT_EQ(text_of(gguf_decoder_config(contents, bytes, "m.gguf").rope()), text_of(settings));
  contents.tensors.back().shape = {32};
  EXPECT_THROW(gguf_decoder_config(contents, bytes, "m.gguf"), InputError);
}

}  // namespace
}  // namespace ropescope
