#include "ropescope/rope/frequencies.h"

#include <gtest/gtest.h>

#include <ATen/ops/equal.h>

#include "ropescope/core/errors.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using testing::golden_json;

// The golden files name two types by what they do rather than as a config does.
RopeConfig config_of(const Json& record) {
  const std::string type = record.at("type");
  RopeConfig config;
  config.theta = record.at("theta");
  if (type == "dynamic_ntk") {
    config.type = RopeType::kDynamic;
  } else if (type == "ntk_aware") {
    config.type = RopeType::kNtk;
  } else if (type != "partial") {
    config.type = parse_rope_type(type);
  }
  const Json& settings = record.at("config");
  config.factor = settings.value("factor", 1.0);
  config.partial_rotary_factor = settings.value("partial_rotary_factor", 1.0);
  config.beta_fast = settings.value("beta_fast", config.beta_fast);
  config.beta_slow = settings.value("beta_slow", config.beta_slow);
  config.truncate = settings.value("truncate", config.truncate);
  config.low_freq_factor = settings.value("low_freq_factor", config.low_freq_factor);
  config.high_freq_factor = settings.value("high_freq_factor", config.high_freq_factor);
  if (settings.contains("original_max_position_embeddings")) {
    config.original_max_position_embeddings = settings.at("original_max_position_embeddings");
  }
  return config;
}

void expect_values(const Frequencies& frequencies, const Json& values, double relative) {
  ASSERT_EQ(frequencies.inv_freq.size(0), static_cast<int64_t>(values.size()));
  ASSERT_EQ(frequencies.inv_freq.scalar_type(), at::kDouble);
  const double* f = frequencies.inv_freq.const_data_ptr<double>();
  for (size_t i = 0; i < values.size(); ++i) {
    const double expected = values[i];
    EXPECT_LE(std::abs(f[i] - expected), relative * std::abs(expected)) << "channel " << i;
  }
}

TEST(Frequencies, PlainValuesEqualTheGoldenOnes) {
  const Json golden = golden_json("positions/frequencies.json");
  for (const Json& record : golden.at("inv_freq")) {
    RopeConfig config;
    config.theta = record.at("theta");
    const Frequencies frequencies = make_frequencies(config, record.at("head_dim"), 0, 0);
    expect_values(frequencies, record.at("values"), 1e-12);
    EXPECT_EQ(frequencies.attention_scale, 1.0);
  }
}

TEST(Frequencies, ScaledValuesEqualTheGoldenOnes) {
  const Json golden = golden_json("positions/frequencies.json");
  for (const Json& record : golden.at("scaled")) {
    SCOPED_TRACE(record.at("type").get<std::string>() + " " + record.at("config").dump());
    const Json& settings = record.at("config");
    const Frequencies frequencies =
        make_frequencies(config_of(record), record.at("head_dim"),
                         settings.value("max_position_embeddings", 0), settings.value("seq_len", 0.0));
    expect_values(frequencies, record.at("values"), 1e-12);
    EXPECT_NEAR(frequencies.attention_scale, record.at("attention_factor").get<double>(), 1e-12);
    EXPECT_EQ(frequencies.axis.sum().item<int64_t>(), 0);
  }
}

TEST(Frequencies, YarnAttentionFactorCanBeGivenOrComeFromMscale) {
  RopeConfig config;
  config.type = RopeType::kYarn;
  config.factor = 4;
  config.original_max_position_embeddings = 4096;
  config.mscale = 1.0;
  config.mscale_all_dim = 0.5;
  const double expected = (0.1 * std::log(4.0) + 1) / (0.05 * std::log(4.0) + 1);
  EXPECT_NEAR(make_frequencies(config, 64, 0, 0).attention_scale, expected, 1e-14);
  config.attention_factor = 0.75;
  EXPECT_EQ(make_frequencies(config, 64, 0, 0).attention_scale, 0.75);
}

TEST(Frequencies, DynamicNtkIsPlainUpToTheTrainedLengthAndGrowsBeyond) {
  RopeConfig config;
  config.type = RopeType::kDynamic;
  config.factor = 2;
  const at::Tensor plain = make_frequencies(RopeConfig{}, 64, 2048, 0).inv_freq;
  EXPECT_TRUE(at::equal(make_frequencies(config, 64, 2048, 100).inv_freq, plain));
  EXPECT_TRUE(at::equal(make_frequencies(config, 64, 2048, 2048).inv_freq, plain));
  const at::Tensor longer = make_frequencies(config, 64, 2048, 4096).inv_freq;
  EXPECT_EQ(longer[0].item<double>(), 1.0);
  EXPECT_LT(longer[31].item<double>(), plain[31].item<double>());
}

TEST(Frequencies, ImpossibleSettingsAreRefusedInWords) {
  RopeConfig config;
  EXPECT_THROW(make_frequencies(config, 0, 0, 0), InputError);
  EXPECT_THROW(make_frequencies(config, 65, 0, 0), InputError);
  config.theta = -1;
  EXPECT_THROW(make_frequencies(config, 64, 0, 0), InputError);
  config = {};
  config.partial_rotary_factor = 0.01;
  EXPECT_THROW(make_frequencies(config, 64, 0, 0), InputError);
  config = {};
  config.type = RopeType::kLinear;
  config.factor = 0;
  EXPECT_THROW(make_frequencies(config, 64, 0, 0), InputError);
  config = {};
  config.type = RopeType::kYarn;
  EXPECT_THROW(make_frequencies(config, 64, 0, 0), InputError);
  config.type = RopeType::kLlama3;
  config.low_freq_factor = 5;
  config.high_freq_factor = 4;
  EXPECT_THROW(make_frequencies(config, 64, 8192, 0), InputError);
}

TEST(Frequencies, TypesAreKnownByTheirConfigNames) {
  for (const char* name : {"default", "linear", "dynamic", "ntk", "yarn", "llama3", "proportional",
                           "longrope", "cope", "per-axis", "ntk-span", "mean", "fope"}) {
    EXPECT_EQ(rope_type_name(parse_rope_type(name)), name);
  }
  EXPECT_EQ(parse_rope_type("su"), RopeType::kLongrope);
  EXPECT_EQ(parse_rope_type("xdrope"), RopeType::kDynamic);
  try {
    parse_rope_type("yarm");
    FAIL() << "an unknown type was accepted";
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find("did you mean \"yarn\""), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace ropescope
