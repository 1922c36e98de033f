// Ids of every golden model, which another implementation made: none of them may be called different.
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>

#include "ropescope/audit/audit.h"
#include "ropescope/core/errors.h"
#include "ropescope/vision/media_processor.h"

#include "tests/support/golden.h"
#include "tests/support/golden_families.h"
#include "tests/support/golden_vlm.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

/// What a case of a golden family gives to an audit.
class GoldenCase {
 public:
  explicit GoldenCase(const std::string& family)
      : family_(family),
        config_(read_decoder_config(golden_path("vlm/" + family))),
        vlm_(parse_vlm_config(golden_json(vlm_file(family, "config.json")), family)),
        golden_(golden_tensors(vlm_file(family, "expected.safetensors"))) {}

  bool has(const std::string& name) const { return golden_.contains(name); }
  const at::Tensor& tensor(const std::string& name) const { return golden_.at(name); }
  at::Tensor input_ids(const std::string& name) const {
    return golden_.at(name + ".input_ids").reshape({1, -1});
  }
  /// [axes, 1, T].
  at::Tensor ids(const std::string& name, const std::string& key = "position_ids") const {
    const at::Tensor ids = golden_.at(name + "." + key).to(at::kDouble);
    return ids.reshape({ids.size(0), 1, -1});
  }
  std::vector<MediaPlan> plans(const std::string& name) const {
    if (!config_.rope_axes) return {};
    const MediaProcessor processor = read_media_processor(golden_path("vlm/" + family_));
    std::vector<MediaPlan> plans;
    for (const bool video : {false, true}) {
      const std::string key = name + (video ? ".video_grid_thw" : ".image_grid_thw");
      if (!has(key)) continue;
      const auto rows = golden_.at(key).accessor<int64_t, 2>();
      const bool timed = video && has(name + ".second_per_grid_ts");
      for (int64_t i = 0; i < golden_.at(key).size(0); ++i) {
        const double second = timed ? golden_.at(name + ".second_per_grid_ts")[i].item<double>() : 1.0;
        plans.push_back(processor.plan_grid(video ? MediaKind::kVideo : MediaKind::kImage,
                                            {rows[i][0], rows[i][1], rows[i][2]}, second));
        for (size_t r = 1; r < plans.back().runs.size(); ++r) plans.back().runs[r].before = " ";
      }
    }
    return plans;
  }
  AuditedPrompt prompt(const PromptInputs& inputs) const { return audited_prompt(config_, &vlm_, inputs); }
  AuditedPrompt prompt(const std::string& name) const {
    PromptInputs inputs;
    inputs.input_ids = input_ids(name);
    inputs.plans = plans(name);
    return prompt(inputs);
  }
  /// The ids that the model's training gives.
  std::string right(const std::string& name) const {
    return has(name + ".position_ids_transformers4") ? "position_ids_transformers4" : "position_ids";
  }

 private:
  std::string family_;
  DecoderConfig config_;
  VlmConfig vlm_;
  std::map<std::string, at::Tensor> golden_;
};

class GoldenVlmIds : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Families, GoldenVlmIds, ::testing::ValuesIn(golden_vlm_families()),
                         family_test_name);

TEST_P(GoldenVlmIds, AreEqual) {
  const GoldenCase golden(GetParam());
  for (const Json& one : vlm_cases(GetParam())) {
    const auto name = one.at("name").get<std::string>();
    SCOPED_TRACE(name);
    const AuditedPrompt prompt = golden.prompt(name);
    const at::Tensor ids = golden.ids(name, golden.right(name));
    const AuditReport report = audit_ids(prompt, {ids, {}, {0, ids.size(2)}, {}});
    EXPECT_TRUE(report.equal());
    EXPECT_EQ(report.compared, ids.size(2));
    EXPECT_FALSE(report.first);
    EXPECT_TRUE(report.looks_like.empty());
    EXPECT_TRUE(report.warnings.empty());
    // The rule that is taken apart gives what the scheme gives.
    EXPECT_TRUE(at::equal(ids_under(prompt, {}, {0, ids.size(2)}), ids));
  }
}

// One row of all cases, packed, and a batch of all of them, padded on the left: what each case gives alone.
TEST_P(GoldenVlmIds, AreEqualPackedAndPadded) {
  const GoldenCase golden(GetParam());
  PromptInputs packed, padded;
  std::vector<at::Tensor> token_ids, positions, rows, masks, row_positions;
  std::vector<MediaPlan> videos;
  int64_t longest = 0;
  for (const Json& one : vlm_cases(GetParam())) {
    const auto name = one.at("name").get<std::string>();
    token_ids.push_back(golden.input_ids(name));
    positions.push_back(golden.ids(name, golden.right(name)));
    packed.parts.push_back(token_ids.back().size(1));
    longest = std::max(longest, packed.parts.back());
    for (const MediaPlan& plan : golden.plans(name)) {
      (plan.kind == MediaKind::kVideo ? videos : packed.plans).push_back(plan);
    }
  }
  // (GLM's clips have the pictures' placeholder: there the order of all is that of the cases, whose clip comes last)
  packed.plans.insert(packed.plans.end(), videos.begin(), videos.end());
  packed.input_ids = at::cat(token_ids, 1);
  const at::Tensor ids = at::cat(positions, 2);
  EXPECT_TRUE(audit_ids(golden.prompt(packed), {ids, {}, {0, ids.size(2)}, {}}).equal());
  EXPECT_TRUE(at::equal(ids_under(golden.prompt(packed), {}, {0, ids.size(2)}), ids));

  for (size_t i = 0; i < token_ids.size(); ++i) {
    const int64_t pad = longest - packed.parts[i];
    rows.push_back(at::cat({at::full({1, pad}, 1, at::kLong), token_ids[i]}, 1));
    masks.push_back(
        at::cat({at::full({1, pad}, 0, at::kLong), at::ones({1, packed.parts[i]}, at::kLong)}, 1));
    // The reference puts 1 at hidden tokens; any number will do.
    row_positions.push_back(
        at::cat({at::full({positions[i].size(0), 1, pad}, 1, at::kDouble), positions[i]}, 2));
  }
  padded.plans = packed.plans;
  padded.input_ids = at::cat(rows, 0);
  padded.attention_mask = at::cat(masks, 0);
  const at::Tensor batch = at::cat(row_positions, 1);
  const AuditReport report = audit_ids(golden.prompt(padded), {batch, {}, {0, longest}, {}});
  EXPECT_TRUE(report.equal());
  EXPECT_EQ(report.compared, std::accumulate(packed.parts.begin(), packed.parts.end(), int64_t{0}));
}

class GoldenTextIds : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Families, GoldenTextIds, ::testing::ValuesIn(golden_families()), family_test_name);

TEST_P(GoldenTextIds, AreEqual) {
  const DecoderConfig config =
      parse_decoder_config(golden_json("architectures/" + GetParam() + "/config.json"), GetParam());
  const auto tokens = golden_tensors("architectures/" + GetParam() + "/expected.safetensors").at("input_ids");
  PromptInputs inputs;
  inputs.input_ids = tokens.reshape({1, -1});
  const int64_t length = inputs.input_ids.size(1);
  const AuditedPrompt prompt = audited_prompt(config, nullptr, inputs);
  // Eight generated tokens go on behind it.
  const at::Tensor ids =
      at::arange(length + 8, at::kDouble).expand({prompt.axes, 1, length + 8}).contiguous();
  const AuditReport report = audit_ids(prompt, {ids, {}, {0, length + 8}, {}});
  EXPECT_TRUE(report.equal());
  EXPECT_EQ(report.generated, 8);
  const AuditReport moved = audit_ids(prompt, {ids.add(1), {}, {0, length + 8}, {}});
  EXPECT_FALSE(moved.equal());
  ASSERT_FALSE(moved.looks_like.empty());
  EXPECT_EQ(moved.looks_like.front().mistakes.front()->name, "shifted");
}

TEST(AuditIds, RefusesWhatIsNoRecord) {
  PromptInputs inputs;
  inputs.tokens = 4;
  DecoderConfig config;
  const AuditedPrompt prompt = audited_prompt(config, nullptr, inputs);
  EXPECT_THROW(audit_ids(prompt, {at::full({1, 1, 4}, std::nan(""), at::kDouble), {}, {0, 4}, {}}),
               InputError);
  EXPECT_THROW(audit_ids(prompt, {at::full({1, 1, 3}, 0, at::kDouble), {}, {0, 4}, {}}), InputError);
  inputs.parts = {1, 2};
  EXPECT_THROW(audited_prompt(config, nullptr, inputs), InputError);
  inputs.parts = {};
  inputs.attention_mask = at::full({1, 4}, 0, at::kLong);
  EXPECT_THROW(audit_ids(audited_prompt(config, nullptr, inputs),
                         {at::full({1, 1, 4}, 0, at::kDouble), {}, {0, 4}, {}}),
               InputError);
}

// A decoding step, or a chunk, alone.
TEST(AuditIds, RecordOfAFewTokens) {
  const GoldenCase golden("qwen2_5_vl");
  const AuditedPrompt prompt = golden.prompt("one_image");
  const at::Tensor ids = golden.ids("one_image");
  const at::Tensor part = ids.narrow(2, 10, 7);
  EXPECT_TRUE(audit_ids(prompt, {part, {}, {10, 7}, {}}).equal());
  // The first generated token's id stands in expected.json.
  const double next = 20;
  EXPECT_TRUE(audit_ids(prompt, {at::full({3, 1, 1}, next + 2, at::kDouble), {}, {40, 1}, {}}).equal());
  EXPECT_FALSE(audit_ids(prompt, {at::full({3, 1, 1}, 40, at::kDouble), {}, {40, 1}, {}}).equal());
}

}  // namespace
}  // namespace ropescope
