#include "ropescope/models/generate.h"

#include <gtest/gtest.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"

#include "tests/models/tiny_models.h"
#include "tests/support/golden.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

std::vector<int64_t> row(const at::Tensor& ids, int64_t index) {
  const at::Tensor one = ids[index].contiguous();
  return {one.const_data_ptr<int64_t>(), one.const_data_ptr<int64_t>() + one.numel()};
}

class Generate : public ::testing::TestWithParam<TinyModel> {
 protected:
  Decoder decoder_ = load_tiny(GetParam().name, GetParam().form);
  std::map<std::string, at::Tensor> golden_ = tiny_tensors(GetParam().name);
  Json json_ = tiny_json(GetParam().name);
  GenerateOptions eight_ = {8, true, {}};
};

INSTANTIATE_TEST_SUITE_P(Tiny, Generate, ::testing::ValuesIn(tiny_models()), [](const auto& instance) {
  return instance.param.name == "llama-tiny" ? "Llama" : "Qwen2";
});

TEST_P(Generate, GreedyContinuationsAlone) {
  const at::Tensor prompt0 = golden_.at("main.input_ids").narrow(0, 0, 1);
  EXPECT_EQ(row(generate(decoder_, {prompt0, {}, {}}, eight_).ids, 0),
            json_.at("greedy0").get<std::vector<int64_t>>());
  EXPECT_EQ(row(generate(decoder_, {golden_.at("single1.input_ids"), {}, {}}, eight_).ids, 0),
            json_.at("greedy1").get<std::vector<int64_t>>());
}

TEST_P(Generate, LeftPaddedBatchGivesTheSameTokens) {
  const Generation generation =
      generate(decoder_, {golden_.at("main.input_ids"), golden_.at("main.attention_mask"), {}}, eight_);
  const Json& expected = json_.at("greedy_left_padded_batch");
  for (int64_t b = 0; b < 2; ++b) {
    EXPECT_EQ(row(generation.ids, b), expected[static_cast<size_t>(b)].get<std::vector<int64_t>>());
    EXPECT_EQ(generation.lengths[static_cast<size_t>(b)], 8);
  }
}

TEST_P(Generate, ScaledFrequencies) {
  const std::string folder = "language/" + GetParam().name + "/configs/";
  for (const char* variant : {"theta1e7", "linear", "yarn", "yarn_opts", "llama3"}) {
    const Json& expected = json_.at(std::string("rope.") + variant + ".greedy0");
    if (expected.is_null()) continue;
    SCOPED_TRACE(variant);
    Decoder scaled = decoder_;
    scaled.config = parse_decoder_config(golden_json(folder + variant + ".new.json"), variant);
    EXPECT_EQ(row(generate(scaled, {golden_.at("posid.input_ids"), {}, {}}, eight_).ids, 0),
              expected.get<std::vector<int64_t>>());
  }
}

// The cached pass against the whole text at once, token by token, in pieces of several sizes.
TEST_P(Generate, CachedLogitsEqualThoseOfTheWholeText) {
  const at::NoGradGuard no_grad;
  const at::Tensor ids = golden_.at("main.input_ids");
  for (const bool padded : {false, true}) {
    const at::Tensor mask = padded ? golden_.at("main.attention_mask") : at::Tensor();
    const at::Tensor whole = run_and_show(decoder_, ids, mask).output.logits;
    KvCache cache;
    int64_t first = 0;
    for (const int64_t piece : {5, 1, 4, 1, 1}) {
      const RotaryTable rotary = plain_rotary_table(decoder_.config, piece, first);
      ForwardInput input;
      input.input_ids = ids.narrow(1, first, piece);
      if (padded) input.attention_mask = mask.narrow(1, 0, first + piece);
      input.rotary = &rotary;
      input.cache = &cache;
      const at::Tensor part = forward(decoder_, input).logits;
      for (int64_t b = 0; b < 2; ++b) {
        const int64_t skip = padded && b == 1 ? std::clamp<int64_t>(4 - first, 0, piece) : 0;
        EXPECT_TRUE(all_close(part[b].narrow(0, skip, piece - skip),
                              whole[b].narrow(0, first + skip, piece - skip), 2e-5));
      }
      first += piece;
      EXPECT_EQ(cache.length(), first);
    }
  }
}

TEST_P(Generate, StopsAtTheEndTokenUnlessToldToIgnoreIt) {
  const auto greedy0 = json_.at("greedy0").get<std::vector<int64_t>>();
  const auto greedy1 = json_.at("greedy1").get<std::vector<int64_t>>();
  const int64_t end = greedy0[2];
  decoder_.config.eos_token_ids = {end};
  const auto length = [&](const std::vector<int64_t>& ids) {
    const auto place = std::find(ids.begin(), ids.end(), end);
    return place == ids.end() ? int64_t{8} : place - ids.begin() + 1;
  };
  const at::Tensor prompt = golden_.at("main.input_ids").narrow(0, 0, 1);
  const Generation stopped = generate(decoder_, {prompt, {}, {}}, {8, false, {}});
  EXPECT_EQ(stopped.lengths, std::vector<int64_t>{length(greedy0)});
  EXPECT_EQ(row(stopped.ids, 0), std::vector<int64_t>(greedy0.begin(), greedy0.begin() + length(greedy0)));
  // In a batch the others go on, and the ended row repeats its end token.
  ASSERT_EQ(length(greedy1), 8);
  const Generation batch = generate(
      decoder_, {golden_.at("main.input_ids"), golden_.at("main.attention_mask"), {}}, {8, false, {}});
  EXPECT_EQ(batch.lengths, (std::vector<int64_t>{length(greedy0), 8}));
  EXPECT_EQ(row(batch.ids, 0)[7], end);
  EXPECT_EQ(row(batch.ids, 1), greedy1);
}

// Under dynamic NTK past the trained length, each step must equal a pass over the whole text so far.
TEST_P(Generate, DynamicNtkNeverUsesKeysOfAnotherBase) {
  Decoder scaled = decoder_;
  scaled.config.rope().type = RopeType::kDynamic;
  scaled.config.rope().factor = 4;
  scaled.config.max_position_embeddings = 10;
  at::Tensor text = golden_.at("posid.input_ids");
  const Generation generation = generate(scaled, {text, {}, {}}, eight_);
  for (int64_t step = 0; step < 8; ++step) {
    const at::Tensor logits = run_and_show(scaled, text).output.logits;
    const at::Tensor next = logits[0][text.size(1) - 1].argmax();
    ASSERT_EQ(generation.ids[0][step].item<int64_t>(), next.item<int64_t>()) << "step " << step;
    text = at::cat({text, next.view({1, 1})}, 1);
  }
}

TEST_P(Generate, GivenPositionsGoOnFromTheLastOne) {
  const at::Tensor ids = golden_.at("posid.input_ids"), positions = golden_.at("posid.position_ids");
  const Generation generation = generate(decoder_, {ids, {}, positions.unsqueeze(0)}, {3, true, {}});
  const at::Tensor text = at::cat({ids, generation.ids}, 1);
  const at::Tensor all = at::cat({positions, at::arange(6, 9, at::kLong).unsqueeze(0)}, 1);
  const at::Tensor logits = run_and_show(decoder_, text, {}, all).output.logits;
  for (int64_t step = 0; step < 3; ++step) {
    EXPECT_EQ(logits[0][11 + step].argmax().item<int64_t>(), generation.ids[0][step].item<int64_t>());
  }
}

TEST_P(Generate, AnotherChoiceCanReplaceGreedy) {
  GenerateOptions options = eight_;
  options.choose = [](const at::Tensor& logits) { return at::full_like(logits.select(1, 0), 7, at::kLong); };
  const Generation generation = generate(decoder_, {golden_.at("single1.input_ids"), {}, {}}, options);
  EXPECT_EQ(row(generation.ids, 0), std::vector<int64_t>(8, 7));
}

TEST_P(Generate, WhatCannotWorkIsRefusedInWords) {
  EXPECT_THROW(generate(decoder_, {golden_.at("right.input_ids"), golden_.at("right.attention_mask"), {}}),
               InputError);
  decoder_.weights.norm = at::full_like(decoder_.weights.norm, NAN);
  EXPECT_THROW(generate(decoder_, {golden_.at("single1.input_ids"), {}, {}}), NumericsError);
}

}  // namespace
}  // namespace ropescope
