// Rotary settings: what is written is what is read, and what a type does not use is said and ignored.
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/architectures/decoder_config.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using ::testing::HasSubstr;

const std::vector<RopeType>& all_rope_types() {
  static const std::vector<RopeType> types = {RopeType::kDefault,     RopeType::kLinear, RopeType::kDynamic,
                                              RopeType::kNtk,         RopeType::kYarn,   RopeType::kLlama3,
                                              RopeType::kProportional};
  return types;
}

/// Changes to one field each; every field of RopeConfig is among them.
const std::vector<std::pair<const char*, void (*)(RopeConfig&)>>& field_changes() {
  static const std::vector<std::pair<const char*, void (*)(RopeConfig&)>> changes = {
      {"none", [](RopeConfig&) {}},
      {"theta", [](RopeConfig& rope) { rope.theta = 1234567.891; }},
      {"factor", [](RopeConfig& rope) { rope.factor = 3.7; }},
      {"M", [](RopeConfig& rope) { rope.original_max_position_embeddings = 77; }},
      {"attention_factor", [](RopeConfig& rope) { rope.attention_factor = 1.3; }},
      {"mscale",
       [](RopeConfig& rope) {
         rope.mscale = 0.707;
         rope.mscale_all_dim = 0.5;
       }},
      {"mscale_all_dim",
       [](RopeConfig& rope) {
         rope.mscale = 1.1;
         rope.mscale_all_dim = 1.7;
       }},
      {"beta_fast", [](RopeConfig& rope) { rope.beta_fast = 19.5; }},
      {"beta_slow", [](RopeConfig& rope) { rope.beta_slow = 2.25; }},
      {"truncate", [](RopeConfig& rope) { rope.truncate = false; }},
      {"low_freq_factor", [](RopeConfig& rope) { rope.low_freq_factor = 1.5; }},
      {"high_freq_factor", [](RopeConfig& rope) { rope.high_freq_factor = 5.5; }},
      {"partial_rotary_factor", [](RopeConfig& rope) { rope.partial_rotary_factor = 0.5; }},
  };
  return changes;
}

RopeConfig start_of(RopeType type) {
  RopeConfig rope;
  rope.type = type;
  if (type != RopeType::kDefault) rope.factor = 4;
  if (type == RopeType::kYarn || type == RopeType::kLlama3) rope.original_max_position_embeddings = 512;
  return rope;
}

bool same_frequencies(const RopeConfig& a, const RopeConfig& b) {
  const Frequencies left = make_frequencies(a, 64, 2048, 5000), right = make_frequencies(b, 64, 2048, 5000);
  return left.inv_freq.equal(right.inv_freq) && left.attention_scale == right.attention_scale;
}

TEST(RopeConfigJson, ComesBackAsItWasForEveryTypeAndField) {
  for (const RopeType type : all_rope_types()) {
    for (const auto& [field, change] : field_changes()) {
      SCOPED_TRACE(rope_type_name(type) + ", " + field);
      RopeConfig rope = start_of(type);
      change(rope);
      // Through text, as files have it.
      const Json json = parse_json(to_json(rope).dump(), "test");
      const RopeConfig back = parse_rope_scaling(json, RopeConfig(), "test");
      EXPECT_EQ(to_json(back), json);
      EXPECT_TRUE(same_frequencies(back, rope));
    }
  }
}

TEST(RopeConfigJson, HasEveryFieldThatChangesTheFrequencies) {
  for (const RopeType type : all_rope_types()) {
    const RopeConfig plain = start_of(type);
    for (const auto& [field, change] : field_changes()) {
      SCOPED_TRACE(rope_type_name(type) + ", " + field);
      RopeConfig rope = plain;
      change(rope);
      EXPECT_TRUE(same_frequencies(rope, plain) || to_json(rope) != to_json(plain));
    }
  }
}

Json llama_with(const Json& changes) {
  Json config = {{"model_type", "llama"},    {"vocab_size", 100},      {"hidden_size", 64},
                 {"intermediate_size", 128}, {"num_hidden_layers", 2}, {"num_attention_heads", 4}};
  config.update(changes);
  return config;
}

TEST(RopeConfigJson, DynamicGoesByTheConfiguredLengthAsInTransformers) {
  const Json scaling = {{"type", "dynamic"}, {"factor", 2.0}, {"original_max_position_embeddings", 8}};
  ::testing::internal::CaptureStderr();
  const DecoderConfig config = parse_decoder_config(
      llama_with({{"rope_scaling", scaling}, {"max_position_embeddings", 256}}), "dynamic/config.json");
  EXPECT_THAT(
      ::testing::internal::GetCapturedStderr(),
      HasSubstr("goes by max_position_embeddings (256); original_max_position_embeddings is ignored"));
  EXPECT_FALSE(config.rope().original_max_position_embeddings);
  // Without a checkpoint the setting is the only length there is.
  EXPECT_EQ(parse_rope_scaling(scaling, RopeConfig(), "--rope-scaling").original_max_position_embeddings, 8);
}

TEST(RopeConfigJson, KeysThatATypeDoesNotUseAreNamedOnceAndIgnored) {
  const Json scaling = {{"rope_type", "linear"}, {"factor", 2},       {"attention_factor", 3},
                        {"low_freq_factor", -1}, {"finetuned", true}, {"rope_theta", 5e5},
                        {"beta_fast", nullptr}};
  ::testing::internal::CaptureStderr();
  const RopeConfig rope = parse_rope_scaling(scaling, RopeConfig(), "linear/config.json");
  parse_rope_scaling(scaling, RopeConfig(), "linear/config.json");
  const std::string words = ::testing::internal::GetCapturedStderr();
  const std::string part = "\"linear\" does not use attention_factor, finetuned, low_freq_factor; ignored";
  EXPECT_THAT(words, HasSubstr(part));
  EXPECT_EQ(words.find(part), words.rfind(part));
  EXPECT_FALSE(rope.attention_factor);
  EXPECT_EQ(rope.low_freq_factor, RopeConfig().low_freq_factor);
  EXPECT_EQ(rope.theta, 5e5);
  ::testing::internal::CaptureStderr();
  parse_rope_scaling({{"rope_type", "default"}, {"factor", 1.0}, {"rope_theta", 1e6}}, RopeConfig(), "plain");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace ropescope
