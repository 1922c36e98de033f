// Continuing the golden prompts of vision-language families: where generated tokens sit, rows of several lengths, prefixes,
// features and pictures that come again.
#include <algorithm>

#include <gtest/gtest.h>

#include <ATen/ops/equal.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"

#include "tests/models/vlm_prompts.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

class VlmGeneration : public VlmDecoder {
 protected:
  /// Keys and values of a prompt's first tokens.
  KvCache prefix_of(const VlmPrompt& prompt, int64_t length) const {
    VlmPrompt head;
    head.embeds = prompt.embeds.narrow(1, 0, length);
    if (prompt.groups.defined()) head.groups = prompt.groups.narrow(1, 0, length);
    for (const AddedFeatures& entry : prompt.added) {
      const at::Tensor here = entry.token_index.lt(length).nonzero().squeeze(1);
      head.added.push_back(
          {entry.layer, entry.token_index.index_select(0, here), entry.features.index_select(0, here)});
    }
    const PassEncoding encoding = encoding_for(decoder_.config, prompt.positions.narrow(2, 0, length));
    KvCache cache;
    ForwardInput pass = input_of(head, encoding);
    pass.cache = &cache;
    forward(decoder_, pass);
    return cache;
  }
};
INSTANTIATE_TEST_SUITE_P(Golden, VlmGeneration, ::testing::ValuesIn(golden_vlm_families()),
                         [](const auto& instance) { return instance.param; });

TEST_P(VlmGeneration, ContinuesGreedily) {
  for (const Json& one : vlm_cases(GetParam())) {
    const std::string name = one.at("name").get<std::string>();
    SCOPED_TRACE(name);
    const at::Tensor* by_delta = find(name + ".generated_at_rope_delta");
    const at::Tensor& expected = by_delta != nullptr ? *by_delta : golden_.at(name + ".generated");
    GenerateOptions options;
    options.max_new_tokens = expected.size(0);
    options.ignore_end = true;
    const at::Tensor generated = generate(decoder_, generation_of(prompt_of(one)), options).ids;
    EXPECT_TRUE(at::equal(generated[0], expected.to(at::kLong)));
    EXPECT_EQ(by_delta != nullptr, GetParam() == "qwen2_5_vl" && name == "image_video");
  }
}

TEST_P(VlmGeneration, RowsOfSeveralLengthsContinueAsAlone) {
  if (GetParam() == "qwen3_5") GTEST_SKIP() << "a recurrent state takes no padding";
  const std::vector<Json> cases = vlm_cases(GetParam());
  std::vector<VlmPrompt> prompts;
  int64_t tokens = 0;
  for (const Json& one : cases) {
    prompts.push_back(prompt_of(one));
    tokens = std::max(tokens, prompts.back().tokens());
  }
  const auto rows = static_cast<int64_t>(prompts.size());
  const int64_t axes = prompts[0].positions.size(0), width = prompts[0].embeds.size(2);
  GenerateInput input;
  input.input_ids = at::zeros({rows, tokens}, at::kLong);
  input.attention_mask = at::zeros({rows, tokens}, at::kLong);
  input.inputs_embeds = at::zeros({rows, tokens, width});
  input.position_ids = at::full({axes, rows, tokens}, 500.0, at::kDouble);  // padding's count for nothing
  if (prompts[0].groups.defined()) input.groups = at::full({rows, tokens}, -1, at::kLong);
  for (int64_t row = 0; row < rows; ++row) {
    const VlmPrompt& prompt = prompts[static_cast<size_t>(row)];
    const int64_t count = prompt.tokens(), first = tokens - count;
    input.input_ids[row].narrow(0, first, count).copy_(prompt.ids[0]);
    input.attention_mask[row].narrow(0, first, count).fill_(1);
    input.inputs_embeds[row].narrow(0, first, count).copy_(prompt.embeds[0]);
    input.position_ids.select(1, row).narrow(1, first, count).copy_(prompt.positions.select(1, 0));
    if (input.groups.defined()) input.groups[row].narrow(0, first, count).copy_(prompt.groups[0]);
    for (const AddedFeatures& entry : prompt.added) {
      input.added.push_back({entry.layer, entry.token_index.add(row * tokens + first), entry.features});
    }
  }
  // One row is made to end at once, another after three tokens: the others go on without them.
  const auto expected_of = [&](int64_t row) {
    const std::string name = cases[static_cast<size_t>(row)].at("name").get<std::string>();
    const at::Tensor* by_delta = find(name + ".generated_at_rope_delta");
    return (by_delta != nullptr ? *by_delta : golden_.at(name + ".generated")).to(at::kLong);
  };
  Decoder decoder = decoder_;
  decoder.config.eos_token_ids = {expected_of(0)[0].item<int64_t>(), expected_of(1)[2].item<int64_t>()};
  GenerateOptions options;
  options.max_new_tokens = 8;
  const Generation generation = generate(decoder, input, options);
  EXPECT_EQ(generation.lengths[0], 1);
  EXPECT_LE(generation.lengths[1], 3);
  for (int64_t row = 0; row < rows; ++row) {
    SCOPED_TRACE(row);
    const int64_t length = generation.lengths[static_cast<size_t>(row)];
    EXPECT_TRUE(at::equal(generation.ids[row].narrow(0, 0, length), expected_of(row).narrow(0, 0, length)));
  }
}

TEST_P(VlmGeneration, APrefixHasItsPicturesWhole) {
  if (!decoder_.config.layer(0).has_qk()) GTEST_SKIP() << "a recurrent state has no prefix";
  const at::NoGradGuard no_grad;
  const Json one = vlm_cases(GetParam()).front();
  const VlmPrompt prompt = prompt_of(one);
  GenerateOptions options;
  options.max_new_tokens = 4;
  options.ignore_end = true;
  const at::Tensor expected = golden_.at("one_image.generated").to(at::kLong).narrow(0, 0, 4);
  // It ends before the picture, behind it, and before the last token.
  const auto picture = one.at("spans")[0].at(1).get<int64_t>(),
             size = one.at("spans")[0].at(2).get<int64_t>();
  for (const int64_t length : {picture - 1, picture + size, prompt.tokens() - 1}) {
    const KvCache cache = prefix_of(prompt, length);
    GenerateInput input = generation_of(prompt);
    input.prefix = &cache;
    EXPECT_TRUE(at::equal(generate(decoder_, input, options).ids[0], expected)) << length;
  }
  if (!prompt.groups.defined()) return;
  const KvCache inside = prefix_of(prompt, picture + 2);
  GenerateInput input = generation_of(prompt);
  input.prefix = &inside;
  EXPECT_THROW(generate(decoder_, input, options), InputError);
}

class DeepStackGeneration : public VlmDecoder {};
INSTANTIATE_TEST_SUITE_P(Golden, DeepStackGeneration, ::testing::Values("qwen3_vl"),
                         [](const auto& instance) { return instance.param; });

// Under dynamic NTK no keys can be kept, so features and pictures come again with every step.
TEST_P(DeepStackGeneration, StaysWhereItIsWhenEveryStepRunsTheWholeText) {
  Decoder decoder = decoder_;
  decoder.config.max_position_embeddings = 16;
  decoder.config.rope().type = RopeType::kDynamic;
  decoder.config.rope().factor = 2;
  // The second row, which has the larger ids, goes on alone after the first one has ended.
  const std::vector<Json> cases = vlm_cases(GetParam());
  const VlmPrompt ends = prompt_of(cases.at(2)), goes_on = prompt_of(cases.at(4));
  const int64_t tokens = goes_on.tokens(), before = tokens - ends.tokens();
  ASSERT_GT(before, 0);
  ASSERT_GT(goes_on.positions.max().item<double>(), ends.positions.max().item<double>());
  const auto behind = [&](const at::Tensor& x, const at::Tensor& padding) {
    return at::cat({padding, x}, -1);
  };
  GenerateInput input;
  input.input_ids = at::cat({behind(ends.ids, at::zeros({1, before}, at::kLong)), goes_on.ids});
  input.attention_mask = at::cat(
      {behind(at::ones_like(ends.ids), at::zeros({1, before}, at::kLong)), at::ones_like(goes_on.ids)});
  input.position_ids =
      at::cat({behind(ends.positions, at::zeros({3, 1, before}, at::kDouble)), goes_on.positions}, 1);
  input.inputs_embeds = at::cat({at::cat({at::zeros({1, before, 64}), ends.embeds}, 1), goes_on.embeds});
  for (const AddedFeatures& entry : ends.added) {
    input.added.push_back({entry.layer, entry.token_index.add(before), entry.features});
  }
  for (const AddedFeatures& entry : goes_on.added) {
    input.added.push_back({entry.layer, entry.token_index.add(tokens), entry.features});
  }
  // By hand, alone.
  std::vector<int64_t> expected;
  VlmPrompt text = goes_on;
  const at::Tensor next = text.positions.max().add(1);
  for (int64_t step = 0; step < 4; ++step) {
    expected.push_back(logits(decoder, text)[-1].argmax().item<int64_t>());
    const at::Tensor id = at::tensor({expected.back()}, at::kLong).unsqueeze(0);
    text.embeds = at::cat({text.embeds, embed_tokens(decoder, id)}, 1);
    text.positions = at::cat({text.positions, next.add(step).expand({3, 1, 1})}, 2);
  }
  GenerateOptions options;
  options.max_new_tokens = 1;
  options.ignore_end = true;
  decoder.config.eos_token_ids = {generate(decoder, input, options).ids[0][0].item<int64_t>()};
  const auto end = std::find(expected.begin(), expected.end(), decoder.config.eos_token_ids[0]);
  if (end != expected.end()) expected.erase(end + 1, expected.end());
  const auto count = static_cast<int64_t>(expected.size());
  ASSERT_GT(count, 2);
  options.max_new_tokens = 4;
  options.ignore_end = false;
  const Generation generation = generate(decoder, input, options);
  EXPECT_EQ(generation.lengths, (std::vector<int64_t>{1, count}));
  EXPECT_TRUE(at::equal(generation.ids[1].narrow(0, 0, count), at::tensor(expected, at::kLong)));
}

}  // namespace
}  // namespace ropescope
