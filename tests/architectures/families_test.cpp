// Every decoder family against tiny checkpoints of its public implementation (tests/golden/architectures): both
// spellings of config.json, what each layer is, the list of tensors, and GGUF files of the same weights.
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/equal.h>

#include "ropescope/architectures/architecture.h"
#include "ropescope/architectures/decoder_memory.h"
#include "ropescope/architectures/decoder_names.h"
#include "ropescope/architectures/open_checkpoint.h"

#include "tests/architectures/parsing.h"
#include "tests/support/golden.h"
#include "tests/support/golden_families.h"
#include "tests/support/refusal.h"

namespace ropescope {
namespace {

using testing::parse;

using testing::golden_json;
using testing::golden_path;
using ::testing::HasSubstr;

std::string file_of(const std::string& folder, const std::string& name) {
  return "architectures/" + folder + "/" + name;
}

Json config_of(const std::string& folder, const std::string& name = "config.json") {
  return golden_json(file_of(folder, name));
}

class Family : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Golden, Family, ::testing::ValuesIn(testing::golden_families()),
                         testing::family_test_name);

TEST_P(Family, BothSpellingsAreEqual) {
  const DecoderConfig now = parse(config_of(GetParam()));
  const DecoderConfig old = parse(config_of(GetParam(), "config.old.json"));
  EXPECT_EQ(to_json(now), to_json(old));
  EXPECT_EQ(now, old);
}

TEST_P(Family, WhatIsWrittenReadsBack) {
  const DecoderConfig config = parse(config_of(GetParam()));
  const Json written = to_json(config);
  EXPECT_EQ(parse(written), config) << written.dump(1);
  EXPECT_EQ(to_json(parse(written)), written);
}

void expect_frequencies(const DecoderConfig& config, int64_t index, const Json& layer, int64_t tokens) {
  const RopeConfig* rope = config.rope_of(index);
  ASSERT_NE(rope, nullptr);
  EXPECT_EQ(rope->theta, layer.at("theta").get<double>());
  EXPECT_EQ(rope_type_name(rope->type), layer.at("rope_type").get<std::string>());
  const Frequencies frequencies =
      make_frequencies(*rope, config.layer(index).rotary_head_dim(), config.max_position_embeddings,
                       static_cast<double>(tokens));
  const auto inv_freq = layer.at("inv_freq").get<std::vector<double>>();
  ASSERT_EQ(frequencies.inv_freq.numel(), static_cast<int64_t>(inv_freq.size()));
  EXPECT_EQ(2 * frequencies.inv_freq.numel(), layer.at("rotary_dims").get<int64_t>());
  for (size_t i = 0; i < inv_freq.size(); ++i) {
    EXPECT_NEAR(frequencies.inv_freq.const_data_ptr<double>()[i], inv_freq[i], 1e-6 * inv_freq[i]) << i;
  }
  EXPECT_NEAR(frequencies.attention_scale, layer.at("attention_factor").get<double>(), 1e-6);
}

int64_t number_or_none(const Json& value) { return value.is_null() ? 0 : value.get<int64_t>(); }

TEST_P(Family, LayersAreThoseOfTheirImplementation) {
  const DecoderConfig config = parse(config_of(GetParam()));
  const Json expected = golden_json(file_of(GetParam(), "expected.json"));
  ASSERT_EQ(config.layers.size(), expected.at("layers").size());
  for (int64_t index = 0; index < config.num_hidden_layers; ++index) {
    SCOPED_TRACE(index);
    const LayerShape& layer = config.layer(index);
    const Json& truth = expected.at("layers").at(static_cast<size_t>(index));
    EXPECT_EQ(layer.kind, truth.at("kind").get<std::string>());
    EXPECT_EQ(layer.rotates(), truth.at("rotates").get<bool>());
    if (!layer.has_qk()) continue;
    EXPECT_EQ(layer.window, number_or_none(truth.at("window")));
    EXPECT_EQ(layer.chunk, number_or_none(truth.at("chunk")));
    EXPECT_NEAR(layer.score_scale, truth.at("scaling").get<double>(), 1e-12);
    if (layer.rotates()) expect_frequencies(config, index, truth, expected.at("tokens").get<int64_t>());
    if (!truth.contains("kv_from_layer")) continue;
    EXPECT_EQ(layer.head_dim, truth.at("head_dim").get<int64_t>());
    EXPECT_EQ(layer.kv_heads, truth.at("kv_heads").get<int64_t>());
    EXPECT_EQ(layer.keys_of < 0 ? index : layer.keys_of, truth.at("kv_from_layer").get<int64_t>());
    EXPECT_EQ(layer.value_from_key, truth.at("v_is_k").get<bool>());
  }
  const bool adjacent = expected.at("pairs").get<std::string>().starts_with("adjacent");
  EXPECT_EQ(config.pairing, adjacent ? PairLayout::kAdjacent : PairLayout::kHalfSplit);
  EXPECT_NEAR(config.embedding_scale, expected.at("embedding_multiplier").get<double>(), 1e-9);
  EXPECT_NEAR(config.logit_scale, expected.at("logits_multiplier").get<double>(), 1e-12);
  const Json& cap = expected.at("final_softcap");
  EXPECT_EQ(config.logit_softcap, cap.is_null() ? 0 : cap.get<double>());
}

/// Numbers of a file, and its names that are not an expert's.
struct Stored {
  int64_t numbers = 0;
  std::map<std::string, std::vector<int64_t>> shapes;
};

Stored stored_in(const Checkpoint& checkpoint) {
  Stored stored;
  for (const TensorInfo& info : checkpoint.tensors()) {
    int64_t numbers = 1;
    for (const int64_t extent : info.shape) numbers *= extent;
    stored.numbers += numbers;
    if (info.name.find(".experts.") == std::string::npos) stored.shapes[info.name] = info.shape;
  }
  return stored;
}

TEST_P(Family, EveryTensorHasARuleAndEveryRuleATensor) {
  const DecoderConfig config = parse(config_of(GetParam()));
  const auto checkpoint = open_checkpoint(golden_path("architectures/" + GetParam()));
  Stored stored = stored_in(*checkpoint);
  std::set<std::string> taken;
  std::map<std::string, int64_t> rows;  // of fused tensors, where the next part has to begin
  for (const TensorRule& rule : tensor_rules(config)) {
    ASSERT_TRUE(stored.shapes.count(rule.name)) << rule.name;
    std::vector<int64_t> shape = rule.shape;
    if (rule.first_row >= 0) {
      EXPECT_EQ(rule.first_row, rows[rule.name]) << rule.name;
      rows[rule.name] += shape[0];
      shape[0] = rule.stored_rows;
    } else {
      EXPECT_FALSE(taken.count(rule.name)) << rule.name;
    }
    EXPECT_EQ(stored.shapes.at(rule.name), shape) << rule.name;
    taken.insert(rule.name);
  }
  for (const auto& [name, end] : rows) EXPECT_EQ(stored.shapes.at(name)[0], end) << name;
  for (const auto& [name, shape] : stored.shapes) EXPECT_TRUE(taken.count(name)) << name << " is left over";
  EXPECT_EQ(estimate_decoder_memory(config, "config.json").parameters, stored.numbers);
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    const std::string prefix = experts_prefix(config, layer) + ".";
    const auto& infos = checkpoint->tensors();
    const bool there = std::any_of(infos.begin(), infos.end(),
                                   [&](const TensorInfo& info) { return info.name.starts_with(prefix); });
    EXPECT_EQ(there, config.layer(layer).experts.has_value()) << prefix;
  }
}

class GgufFamily : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Golden, GgufFamily, ::testing::ValuesIn(testing::golden_families()),
                         testing::family_test_name);

std::string gguf_of(const std::string& folder) {
  return golden_path("architectures/gguf/" + folder + "-F16.gguf");
}

/// config.json as far as a GGUF file can say it.
Json as_gguf_says(const std::string& folder) {
  Json config = config_of(folder);
  // Scaling is not in the file: the head size is taken, as it is in published models.
  if (folder == "gemma2" || folder == "gemma3_text") config["query_pre_attn_scalar"] = config["head_dim"];
  if (folder == "mistral-window") config["sliding_window"] = nullptr;
  if (folder == "llama4_text") {
    config.update({{"attention_chunk_size", 8192}, {"attn_scale", 0.1}, {"floor_scale", 8192}});
  }
  return config;
}

TEST_P(GgufFamily, SaysWhatConfigJsonSays) {
  DecoderConfig gguf = read_decoder_config(gguf_of(GetParam()));
  DecoderConfig truth = parse(as_gguf_says(GetParam()));
  // These files have no tokenizer, and numbers of Llama's are float32.
  for (DecoderConfig* config : {&gguf, &truth}) {
    config->eos_token_ids.clear();
    config->bos_token_id.reset();
    config->rms_norm_eps = std::round(config->rms_norm_eps * 1e9) / 1e9;
  }
  EXPECT_EQ(to_json(gguf), to_json(truth));
  EXPECT_EQ(gguf, truth);
}

/// An expert's matrix [out, in] in the form that Hugging Face files have.
at::Tensor expert_matrix(const Checkpoint& checkpoint, const std::string& prefix, const ExpertShape& shape,
                         const std::string& which, int64_t expert) {
  if (shape.form == ExpertForm::kEach) {
    return checkpoint.take(fmt::format("{}.{}.{}_proj.weight", prefix, expert, which), at::kFloat);
  }
  const bool down = which == "down";
  at::Tensor stored = checkpoint.take(prefix + (down ? ".down_proj" : ".gate_up_proj"), at::kFloat)[expert];
  if (shape.form != ExpertForm::kStackedOutIn) stored = stored.t();
  if (down) return stored;
  const int64_t first = which == "gate" ? 0 : 1;
  if (shape.form == ExpertForm::kStackedInOutAlternating) return stored.slice(0, first, std::nullopt, 2);
  return stored.narrow(0, first * shape.inner, shape.inner);
}

/// The same from a GGUF file, whose experts are stacked.
at::Tensor gguf_expert_matrix(const Checkpoint& gguf, const std::string& prefix, const ExpertShape& shape,
                              const std::string& which, int64_t expert) {
  const std::string name = fmt::format("{}.{}_proj.weight", prefix, which);
  if (gguf.find(name) == nullptr) return expert_matrix(gguf, prefix, shape, which, expert);
  return gguf.take_rows(name, expert, 1, at::kFloat)[0];
}

TEST_P(GgufFamily, GivesTheTensorsOfTheOtherForm) {
  const DecoderConfig config = parse(config_of(GetParam()));
  const auto gguf = open_checkpoint(gguf_of(GetParam()));
  const auto truth = open_checkpoint(golden_path("architectures/" + GetParam()));
  for (const TensorRule& rule : tensor_rules(config)) {
    const TensorInfo* info = gguf->find(rule.name);
    ASSERT_NE(info, nullptr) << rule.name;
    EXPECT_EQ(info->shape, truth->find(rule.name)->shape) << rule.name;
    const at::Tensor found = gguf->take(rule.name, at::kFloat);
    // Out of the logarithm of an exponential a bit may be missing.
    const double tolerance = rule.kind == TensorKind::kDeltaDecay ? 1e-6 : 0;
    EXPECT_TRUE(testing::all_close(found, truth->take(rule.name, at::kFloat), tolerance)) << rule.name;
  }
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    const auto& experts = config.layer(layer).experts;
    if (!experts) continue;
    const std::string prefix = experts_prefix(config, layer);
    for (int64_t expert = 0; expert < experts->count; ++expert) {
      for (const char* which : {"gate", "up", "down"}) {
        EXPECT_TRUE(at::equal(gguf_expert_matrix(*gguf, prefix, *experts, which, expert),
                              expert_matrix(*truth, prefix, *experts, which, expert)))
            << prefix << " " << expert << " " << which;
      }
    }
    if (experts->form != ExpertForm::kStackedInOutAlternating) continue;
    const at::Tensor bias = truth->take(prefix + ".gate_up_proj_bias", at::kFloat);
    EXPECT_TRUE(
        at::equal(gguf->take(prefix + ".gate_proj.bias", at::kFloat), bias.slice(1, 0, std::nullopt, 2)));
    EXPECT_TRUE(
        at::equal(gguf->take(prefix + ".up_proj.bias", at::kFloat), bias.slice(1, 1, std::nullopt, 2)));
    EXPECT_TRUE(at::equal(gguf->take(prefix + ".down_proj.bias", at::kFloat),
                          truth->take(prefix + ".down_proj_bias", at::kFloat)));
  }
}

}  // namespace
}  // namespace ropescope
