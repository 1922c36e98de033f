// Decoders of vision-language families from the embeddings of their golden cases on (tests/golden/vlm): positions of three
// axes, features that join later layers, pictures whose tokens see each other; with a cache, in rows, with gradients.
#include <gtest/gtest.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/models/forward_run.h"
#include "ropescope/models/generate.h"

#include "tests/models/tiny_models.h"
#include "tests/support/golden.h"
#include "tests/support/golden_vlm.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

/// Absolute, as tests/golden/vlm/README.md has them.
constexpr double kVlmQk = 1e-4, kVlmAttention = 1e-5;
double vlm_logits(const std::string& family) { return family == "qwen3_5" ? 1e-3 : 2e-4; }

/// A prompt as it enters the decoder.
struct VlmPrompt {
  at::Tensor ids, embeds, positions, groups;
  std::vector<AddedFeatures> added;
  int64_t tokens() const { return ids.size(1); }
};

class VlmDecoder : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    decoder_ = load(WeightMode::kResident);
    golden_ = golden_tensors(vlm_file(GetParam(), "expected.safetensors"));
  }

  static Decoder load(WeightMode weights) {
    const std::string path = golden_path("vlm/" + GetParam());
    LoadOptions options;
    options.weights = weights;
    return load_decoder(open_checkpoint(path), read_decoder_config(path), options);
  }

  const at::Tensor* find(const std::string& name) const {
    const auto found = golden_.find(name);
    return found == golden_.end() ? nullptr : &found->second;
  }

  VlmPrompt prompt_of(const Json& one) const {
    const std::string name = one.at("name").get<std::string>() + ".";
    VlmPrompt prompt;
    prompt.ids = golden_.at(name + "input_ids").to(at::kLong).unsqueeze(0);
    prompt.embeds = golden_.at(name + "inputs_embeds").unsqueeze(0);
    prompt.positions = golden_.at(name + "position_ids").to(at::kDouble).unsqueeze(1);
    if (GetParam() == "gemma3") prompt.groups = at::full({1, prompt.tokens()}, -1, at::kInt);
    std::map<std::string, std::vector<at::Tensor>> places;
    int picture = 0;
    for (const Json& span : one.at("spans")) {
      const auto first = span.at(1).get<int64_t>(), count = span.at(2).get<int64_t>();
      places[span.at(0).get<std::string>()].push_back(at::arange(first, first + count, at::kLong));
      if (prompt.groups.defined()) prompt.groups.narrow(1, first, count).fill_(picture++);
    }
    for (const auto& [kind, index] : places) {
      for (int64_t layer = 0;
           const at::Tensor* deep = find(fmt::format("{}{}_deepstack.{}", name, kind, layer)); ++layer) {
        prompt.added.push_back({layer, at::cat(index), *deep});
      }
    }
    return prompt;
  }

  static ForwardInput input_of(const VlmPrompt& prompt, const PassEncoding& encoding) {
    ForwardInput input;
    input.inputs_embeds = prompt.embeds;
    input.groups = prompt.groups;
    input.added = prompt.added;
    input.encoding = &encoding;
    return input;
  }

  at::Tensor logits(const Decoder& decoder, const VlmPrompt& prompt,
                    const ForwardOptions& options = {}) const {
    const at::NoGradGuard no_grad;
    const PassEncoding encoding = encoding_for(decoder.config, prompt.positions);
    return forward(decoder, input_of(prompt, encoding), options).logits[0];
  }

  static GenerateInput generation_of(const VlmPrompt& prompt) {
    GenerateInput input;
    input.input_ids = prompt.ids;
    input.inputs_embeds = prompt.embeds;
    input.position_ids = prompt.positions;
    input.groups = prompt.groups;
    input.added = prompt.added;
    return input;
  }

  Decoder decoder_;
  std::map<std::string, at::Tensor> golden_;
};

INSTANTIATE_TEST_SUITE_P(Golden, VlmDecoder, ::testing::ValuesIn(golden_vlm_families()),
                         [](const auto& instance) { return instance.param; });

TEST_P(VlmDecoder, EveryActivationOfEveryCase) {
  const at::NoGradGuard no_grad;
  int64_t compared = 0;
  for (const Json& one : vlm_cases(GetParam())) {
    const std::string name = one.at("name").get<std::string>();
    SCOPED_TRACE(name);
    const VlmPrompt prompt = prompt_of(one);
    std::map<int64_t, at::Tensor> rows;
    std::map<std::string, at::Tensor> shown;
    std::vector<int64_t> queries;
    for (int64_t t = 0; t < prompt.tokens(); ++t) queries.push_back(t);
    Taps taps;
    // Families with recurrent layers count those with a softmax only.
    const std::vector<int64_t> with_qk = layers_with_qk(decoder_.config);
    const auto label = [&](int64_t layer) {
      return std::to_string(std::find(with_qk.begin(), with_qk.end(), layer) - with_qk.begin());
    };
    taps.qk = [&](int64_t layer, const at::Tensor& q, const at::Tensor& k) {
      shown["q." + label(layer)] = q[0].clone(), shown["k." + label(layer)] = k[0].clone();
    };
    taps.qk_rotated = [&](int64_t layer, const at::Tensor& q, const at::Tensor& k) {
      shown["q_rotated." + label(layer)] = q[0].clone(), shown["k_rotated." + label(layer)] = k[0].clone();
    };
    taps.attention = AttentionRows{queries, [&](int64_t layer, const at::Tensor& found) {
                                     shown["attention." + label(layer)] = found[0].clone();
                                     shown["attention_last." + label(layer)] =
                                         found[0].select(1, prompt.tokens() - 1).clone();
                                   }};
    const PassEncoding encoding = encoding_for(decoder_.config, prompt.positions);
    const at::Tensor logits = forward(decoder_, input_of(prompt, encoding), {}, taps).logits[0];
    const at::Tensor& expected = golden_.at(name + ".logits");
    const auto from = one.at("logits_from_row").get<int64_t>();
    ASSERT_EQ(expected.size(0), prompt.tokens() - from);
    EXPECT_TRUE(all_close(logits.narrow(0, from, expected.size(0)), expected, vlm_logits(GetParam())));
    for (const auto& [what, found] : shown) {
      const at::Tensor* truth = find(name + "." + what);
      if (truth == nullptr) continue;
      ++compared;
      const double tolerance = what.starts_with("attention") ? kVlmAttention : kVlmQk;
      EXPECT_TRUE(all_close(found, *truth, tolerance)) << what;
    }
  }
  EXPECT_GT(compared, 5 * static_cast<int64_t>(layers_with_qk(decoder_.config).size()));
}

TEST_P(VlmDecoder, TextAloneIsReadFromItsIds) {
  const VlmPrompt prompt = prompt_of(vlm_cases(GetParam()).back());
  const Shown shown = run_and_show(decoder_, prompt.ids);
  EXPECT_TRUE(all_close(shown.output.logits[0], golden_.at("text_only.logits"), vlm_logits(GetParam())));
}

TEST_P(VlmDecoder, ContinuesGreedily) {
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

TEST_P(VlmDecoder, RowsOfSeveralLengthsContinueAsAlone) {
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

TEST_P(VlmDecoder, StreamedAndRecomputedLayersGiveTheSame) {
  const Decoder streamed = load(WeightMode::kStreamed);
  ForwardOptions twice;
  twice.checkpoint_layers = true;
  for (const Json& one : vlm_cases(GetParam())) {
    SCOPED_TRACE(one.at("name").get<std::string>());
    const VlmPrompt prompt = prompt_of(one);
    const at::Tensor whole = logits(decoder_, prompt);
    EXPECT_TRUE(at::equal(logits(streamed, prompt), whole));
    const PassEncoding encoding = encoding_for(decoder_.config, prompt.positions);
    VlmPrompt grown = prompt;
    grown.embeds = prompt.embeds.clone().set_requires_grad(true);
    for (AddedFeatures& entry : grown.added) {
      entry.features = entry.features.clone().set_requires_grad(true);
    }
    std::vector<at::Tensor> first;
    for (const bool again : {false, true}) {
      const at::Tensor out =
          forward(decoder_, input_of(grown, encoding), again ? twice : ForwardOptions()).logits;
      EXPECT_TRUE(all_close(out[0], whole, 1e-4));
      out.log_softmax(-1).select(1, -1).select(1, 0).sum().backward();
      std::vector<at::Tensor> leaves = {grown.embeds};
      for (const AddedFeatures& entry : grown.added) leaves.push_back(entry.features);
      for (size_t i = 0; i < leaves.size(); ++i) {
        ASSERT_TRUE(leaves[i].grad().defined());
        EXPECT_GT(leaves[i].grad().abs().max().item<double>(), 0);
        if (!again) {
          first.push_back(leaves[i].grad().clone());
          leaves[i].mutable_grad().zero_();
        } else {
          EXPECT_TRUE(all_close(leaves[i].grad(), first[i], 1e-6, 1e-4));
        }
      }
    }
  }
}

TEST_P(VlmDecoder, EqualRowsOfIdsAreOneRow) {
  const at::Tensor one = at::arange(7, 40, at::kDouble).view({1, 1, -1});
  if (!decoder_.config.rope_axes) {
    EXPECT_THROW(encoding_for(decoder_.config, one.expand({3, 1, -1})), InputError);
    return;
  }
  const PassEncoding single = encoding_for(decoder_.config, one);
  const PassEncoding triple = encoding_for(decoder_.config, one.expand({3, 1, -1}));
  for (int64_t l : layers_with_qk(decoder_.config)) {
    EXPECT_TRUE(at::equal(single.table(l).cos, triple.table(l).cos));
    EXPECT_TRUE(at::equal(single.table(l).sin, triple.table(l).sin));
  }
  EXPECT_THROW(encoding_for(decoder_.config, one.expand({2, 1, -1})), InputError);
}

// Pieces that a prompt may be read in: no picture is cut.
TEST_P(VlmDecoder, PiecesBehindACacheAreTheWholePass) {
  const at::NoGradGuard no_grad;
  for (const Json& one : vlm_cases(GetParam())) {
    if (one.at("spans").empty()) continue;
    SCOPED_TRACE(one.at("name").get<std::string>());
    const VlmPrompt prompt = prompt_of(one);
    std::vector<int64_t> ends = {one.at("spans")[0].at(1).get<int64_t>() - 1};  // in the middle of text
    for (const Json& span : one.at("spans")) {
      ends.push_back(span.at(1).get<int64_t>() + span.at(2).get<int64_t>());
    }
    ends.push_back(prompt.tokens() - 1);
    ends.push_back(prompt.tokens());
    KvCache cache;
    std::vector<at::Tensor> parts;
    int64_t first = 0;
    for (const int64_t end : ends) {
      const int64_t count = end - first;
      VlmPrompt piece;
      piece.embeds = prompt.embeds.narrow(1, first, count);
      piece.positions = prompt.positions.narrow(2, first, count);
      if (prompt.groups.defined()) piece.groups = prompt.groups.narrow(1, first, count);
      for (const AddedFeatures& entry : prompt.added) {
        const at::Tensor here =
            entry.token_index.ge(first).logical_and(entry.token_index.lt(end)).nonzero().squeeze(1);
        piece.added.push_back({entry.layer, entry.token_index.index_select(0, here).sub(first),
                               entry.features.index_select(0, here)});
      }
      const PassEncoding encoding = encoding_for(decoder_.config, piece.positions);
      ForwardInput input = input_of(piece, encoding);
      input.cache = &cache;
      parts.push_back(forward(decoder_, input).logits[0]);
      first = end;
    }
    EXPECT_TRUE(all_close(at::cat(parts), logits(decoder_, prompt), 1e-4));
  }
}

class DeepStack : public VlmDecoder {};
INSTANTIATE_TEST_SUITE_P(Golden, DeepStack, ::testing::Values("qwen3_vl"),
                         [](const auto& instance) { return instance.param; });

TEST_P(DeepStack, MovesTheLogitsAsFarAsTheReferenceSays) {
  const VlmPrompt prompt = prompt_of(vlm_cases(GetParam()).front());
  const at::Tensor whole = logits(decoder_, prompt);
  VlmPrompt without = prompt;
  without.added.clear();
  EXPECT_GT(logits(decoder_, without).sub(whole).abs().max().item<double>(), 1);
  VlmPrompt reversed = prompt;
  std::swap(reversed.added[0].features, reversed.added[1].features);
  EXPECT_GT(logits(decoder_, reversed).sub(whole).abs().max().item<double>(), 1);
}

TEST_P(DeepStack, TapsSeeHiddenStatesWithTheFeatures) {
  const at::NoGradGuard no_grad;
  VlmPrompt prompt = prompt_of(vlm_cases(GetParam()).front());
  const PassEncoding encoding = encoding_for(decoder_.config, prompt.positions);
  const auto hidden_after_0 = [&] {
    at::Tensor seen;
    Taps taps;
    taps.hidden = [&](int64_t depth, const at::Tensor& hidden) {
      if (depth == 1) seen = hidden[0].clone();
    };
    forward(decoder_, input_of(prompt, encoding), {}, taps);
    return seen;
  };
  const at::Tensor with = hidden_after_0();
  const AddedFeatures entry = prompt.added[0];
  prompt.added.clear();
  const at::Tensor difference = with.sub(hidden_after_0());
  EXPECT_TRUE(all_close(difference.index_select(0, entry.token_index), entry.features, 1e-5));
  EXPECT_NEAR(difference.abs().sum().item<double>(),
              difference.index_select(0, entry.token_index).abs().sum().item<double>(), 1e-3);
}

TEST_P(DeepStack, RefusesWhatFitsNoTokenOrLayer) {
  VlmPrompt prompt = prompt_of(vlm_cases(GetParam()).front());
  const PassEncoding encoding = encoding_for(decoder_.config, prompt.positions);
  const auto refused = [&](const AddedFeatures& entry) {
    prompt.added = {entry};
    EXPECT_THROW(forward(decoder_, input_of(prompt, encoding)), InputError);
  };
  const at::Tensor index = at::tensor({0, 1}, at::kLong), features = at::ones({2, 64});
  refused({3, index, features});
  refused({-1, index, features});
  refused({0, at::tensor({0, 38}, at::kLong), features});
  refused({0, at::tensor({-1, 1}, at::kLong), features});
  prompt.added = {{0, index, at::ones({2, 63})}};
  EXPECT_THROW(forward(decoder_, input_of(prompt, encoding)), InternalError);
}

// Under dynamic NTK no keys can be kept, so features and pictures come again with every step.
TEST_P(DeepStack, StaysWhereItIsWhenEveryStepRunsTheWholeText) {
  Decoder decoder = decoder_;
  decoder.config.max_position_embeddings = 16;
  decoder.config.rope().type = RopeType::kDynamic;
  decoder.config.rope().factor = 2;
  const std::vector<Json> cases = vlm_cases(GetParam());
  const VlmPrompt prompt = prompt_of(cases.front());
  GenerateOptions options;
  options.max_new_tokens = 3;
  options.ignore_end = true;
  const at::Tensor generated = generate(decoder, generation_of(prompt), options).ids[0];
  // By hand.
  VlmPrompt text = prompt;
  const at::Tensor next = prompt.positions.max().add(1);
  for (int64_t step = 0; step < 3; ++step) {
    const int64_t chosen = logits(decoder, text)[-1].argmax().item<int64_t>();
    EXPECT_EQ(generated[step].item<int64_t>(), chosen);
    const at::Tensor id = at::tensor({chosen}, at::kLong).unsqueeze(0);
    text.embeds = at::cat({text.embeds, embed_tokens(decoder, id)}, 1);
    text.positions = at::cat({text.positions, next.add(step).expand({3, 1, 1})}, 2);
    text.ids = at::cat({text.ids, id}, 1);
  }
}

}  // namespace
}  // namespace ropescope
