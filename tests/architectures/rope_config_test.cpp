// Rotary settings: what is written is what is read, and what a type does not use is said and ignored.
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/rope/scheme.h"

#include "tests/support/golden.h"
#include "tests/support/refusal.h"

namespace ropescope {
namespace {

using ::testing::HasSubstr;

const std::vector<RopeType>& all_rope_types() {
  static const std::vector<RopeType> types = {
      RopeType::kDefault, RopeType::kLinear, RopeType::kDynamic, RopeType::kNtk,          RopeType::kYarn,
      RopeType::kLlama3,  RopeType::kCope,   RopeType::kPerAxis, RopeType::kProportional, RopeType::kLongrope,
      RopeType::kNtkSpan, RopeType::kMean,   RopeType::kFope};
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
      {"partial_rotary_factor",
       [](RopeConfig& rope) {
         rope.partial_rotary_factor = 0.5;
         for (auto* list : {&rope.short_factor, &rope.long_factor}) list->resize(list->size() / 2);
       }},
      {"short_factor", [](RopeConfig& rope) { rope.short_factor.assign(rope.short_factor.size(), 1.5); }},
      {"long_factor", [](RopeConfig& rope) { rope.long_factor.assign(rope.long_factor.size(), 2.5); }},
      {"alpha",
       [](RopeConfig& rope) {
         if (rope.type != RopeType::kDynamic) return;
         rope.alpha = 12.5;
         rope.factor = 1;
       }},
      {"channels", [](RopeConfig& rope) { rope.channels = 7; }},
      {"hard", [](RopeConfig& rope) { rope.hard = true; }},
      {"kept", [](RopeConfig& rope) { rope.kept = 11; }},
      {"parts",
       [](RopeConfig& rope) {
         if (rope.type != RopeType::kCope && rope.parts.empty()) return;
         RopeConfig part;
         part.type = RopeType::kNtk;
         part.factor = 3;
         if (rope.parts.empty()) rope.parts.push_back(part);
         rope.parts.back() = part;
       }},
  };
  return changes;
}

RopeConfig start_of(RopeType type) {
  RopeConfig rope;
  rope.type = type;
  if (type != RopeType::kDefault) rope.factor = 4;
  if (type == RopeType::kYarn || type == RopeType::kLlama3) rope.original_max_position_embeddings = 512;
  if (type == RopeType::kLongrope) {
    rope.short_factor.assign(32, 1.25);
    rope.long_factor.assign(32, 4);
  }
  if (type == RopeType::kPerAxis || type == RopeType::kMean) {
    rope.parts = {start_of(RopeType::kLinear), start_of(RopeType::kCope)};
    rope.parts[1].parts = {start_of(RopeType::kNtk)};
  }
  if (type == RopeType::kPerAxis) rope.names = {"h", "t"};
  return rope;
}

bool same_frequencies(const RopeConfig& a, const RopeConfig& b) {
  const Scheme rows("mrope");
  for (const double length : {100, 5000}) {
    const Frequencies left = rows.frequencies(a, 64, 1, 2048, length),
                      right = rows.frequencies(b, 64, 1, 2048, length);
    if (!left.inv_freq.equal(right.inv_freq) || left.attention_scale != right.attention_scale) return false;
  }
  return true;
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
      EXPECT_EQ(back.type, rope.type);
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

Json within(int64_t depth) {
  Json settings = {{"rope_type", "linear"}, {"factor", 2}};
  for (int64_t i = 1; i < depth; ++i)
    settings = {{"rope_type", "cope"}, {"channels", 2}, {"inner", settings}};
  return settings;
}

TEST(RopeConfigJson, SettingsInsideSettingsAreReadWithTheirPlace) {
  const auto refused = [](const Json& scaling) {
    return testing::refusal_of([&] { parse_rope_scaling(scaling, RopeConfig(), "flag"); });
  };
  EXPECT_EQ(refused(within(4)), "");
  EXPECT_THAT(refused(within(5)), HasSubstr("at most 4 deep"));
  EXPECT_THAT(refused({{"rope_type", "copee"}}), HasSubstr("did you mean \"cope\"?"));
  EXPECT_THAT(refused({{"rope_type", "cope"}, {"channels", 0}}),
              HasSubstr("\"channels\": expected at least 1"));
  EXPECT_THAT(refused({{"rope_type", "cope"}, {"form", "firm"}}),
              HasSubstr("expected soft or hard, found \"firm\""));
  EXPECT_THAT(refused({{"rope_type", "cope"}, {"inner", {{"rope_type", "yarm"}, {"factor", 2}}}}),
              HasSubstr("flag: \"inner\": \"rope_type\": rope type \"yarm\""));
  EXPECT_THAT(refused({{"rope_type", "cope"}, {"inner", {{"rope_type", "linear"}}}}),
              HasSubstr("flag: \"inner\": the rope type \"linear\" needs \"factor\""));
  EXPECT_THAT(refused({{"rope_type", "cope"}, {"inner", 3}}),
              HasSubstr("flag: \"inner\": expected an object"));
  EXPECT_THAT(refused({{"rope_type", "cope"}, {"inner", {{"rope_theta", 3}}}}),
              HasSubstr("beside the outermost rope_type"));
  EXPECT_THAT(refused({{"rope_type", "mean"}}), HasSubstr("\"mean\" needs \"of\""));
  EXPECT_THAT(refused({{"rope_type", "mean"}, {"of", Json::array()}}), HasSubstr("\"mean\" needs \"of\""));
  EXPECT_THAT(refused({{"rope_type", "per-axis"}}), HasSubstr("needs settings for a row"));
  EXPECT_THAT(refused({{"rope_type", "ntk-span"}}), HasSubstr("\"ntk-span\" needs \"factor\""));
  EXPECT_THAT(refused({{"rope_type", "fope"}, {"kept", -1}}), HasSubstr("\"kept\": expected at least 0"));
  EXPECT_THAT(refused({{"rope_type", "dynamic"}}), HasSubstr("needs \"factor\", or \"alpha\""));
  EXPECT_THAT(refused({{"rope_type", "xdrope"}, {"alpha", -2}}),
              HasSubstr("\"alpha\": expected a finite number"));
  EXPECT_THAT(refused({{"rope_type", "dynamic"}, {"alpha", 2}, {"factor", 3}}),
              HasSubstr("expected \"alpha\" or \"factor\""));
  EXPECT_EQ(refused({{"rope_type", "dynamic"}, {"alpha", 2}, {"factor", 1}}),
            "");  // as HunYuan's files have it
  EXPECT_THAT(refused({{"rope_type", "longrope"}, {"short_factor", {1.0}}}), HasSubstr("long_factor"));
  EXPECT_THAT(refused({{"rope_type", "longrope"},
                       {"short_factor", {1.0}},
                       {"long_factor", {1.0}},
                       {"max_position_embeddings", 64}}),
              HasSubstr("needs \"original_max_position_embeddings\" beside it"));
  // One set a layer type, as transformers 5 nests them, stays what it was.
  EXPECT_THAT(refused({{"rope_type", "linear"}, {"factor", 2}, {"sliding", {{"rope_type", "linear"}}}}),
              HasSubstr("found one a layer type"));
}

TEST(RopeConfigJson, AConfigFileMayHoldThem) {
  const Json scaling = within(2);
  const DecoderConfig config =
      parse_decoder_config(llama_with({{"rope_scaling", scaling}, {"rope_theta", 5e5}}), "cope/config.json");
  EXPECT_EQ(config.rope().type, RopeType::kCope);
  EXPECT_EQ(config.rope().theta, 5e5);
  EXPECT_EQ(parse_decoder_config(to_json(config), "again"), config);
}

}  // namespace
}  // namespace ropescope
