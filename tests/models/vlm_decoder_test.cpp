// Decoders of vision-language families from the embeddings of their golden cases on (tests/golden/vlm): positions of three
// axes, features that join later layers, pictures whose tokens see each other; with a cache, in rows, with gradients.
#include <gtest/gtest.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/models/forward_run.h"
#include "ropescope/models/generate.h"

#include "tests/models/tiny_models.h"
#include "tests/models/vlm_prompts.h"
#include "tests/support/golden.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

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

TEST_P(VlmDecoder, PicturesThatSeeThemselvesNeedAnOrdinaryAttention) {
  const VlmPrompt prompt = prompt_of(vlm_cases(GetParam()).front());
  ForwardInput input;
  input.input_ids = prompt.ids;
  input.groups = at::zeros({1, prompt.tokens()}, at::kInt);
  Segment text;
  text.text = prompt.tokens();
  const SequenceEncoding alibi(Scheme("alibi"), Layout{"text", {text}}, encoded_model(decoder_.config));
  const PassEncoding biased = alibi.pass(0, prompt.tokens()),
                     plain = plain_encoding(decoder_.config, prompt.tokens());
  input.encoding = &biased;
  EXPECT_THROW(forward(decoder_, input), InputError);
  input.encoding = &plain;
  if (GetParam() == "qwen3_5") {
    EXPECT_THROW(forward(decoder_, input), InputError);
  } else {
    const at::Tensor all = forward(decoder_, input).logits;
    input.groups = at::Tensor();
    EXPECT_GT(forward(decoder_, input).logits.sub(all).abs().max().item<double>(), 0.1);
  }
}

TEST_P(VlmDecoder, APictureIsNotCutByTheEndOfAPass) {
  if (GetParam() != "gemma3") GTEST_SKIP() << "causal";
  const at::NoGradGuard no_grad;
  const Json one = vlm_cases(GetParam()).front();
  const VlmPrompt prompt = prompt_of(one);
  const int64_t inside = one.at("spans")[0].at(1).get<int64_t>() + 3;
  const auto piece = [&](int64_t first, int64_t count, KvCache& cache) {
    VlmPrompt part;
    part.embeds = prompt.embeds.narrow(1, first, count);
    part.groups = prompt.groups.narrow(1, first, count);
    const PassEncoding encoding = encoding_for(decoder_.config, prompt.positions.narrow(2, first, count));
    ForwardInput input = input_of(part, encoding);
    input.cache = &cache;
    forward(decoder_, input);
  };
  KvCache cache;
  piece(0, inside, cache);
  KvCache twice = cache.expanded(2);
  EXPECT_EQ(twice.last_groups.size(0), 2);
  EXPECT_THROW(piece(inside, 5, cache), InputError);
}

// cos and sin by hand: the pair's own axis times its scaled frequency.
TEST_P(VlmDecoder, AScalingStandsBesideTheAxes) {
  if (!decoder_.config.rope_axes) GTEST_SKIP() << "ids of one row";
  DecoderConfig config = decoder_.config;
  config.rope() =
      parse_rope_scaling({{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 64}},
                         config.rope(), "flag");
  const at::Tensor ids =
      at::tensor({0., 5., 9., 70., 0., 2., 11., 30., 0., 7., 3., 90.}, at::kDouble).view({3, 1, 4});
  const int64_t layer = layers_with_qk(config).front();
  const RotaryTable table = encoding_for(config, ids).table(layer);
  const Frequencies frequencies =
      make_frequencies(config.rope(), config.head_dim, config.max_position_embeddings, 91);
  EXPECT_GT(frequencies.attention_scale, 1.1);
  const RopeAxes& axes = *config.rope_axes;
  const int64_t pairs = frequencies.inv_freq.size(0);
  ASSERT_EQ(table.cos.size(3), pairs);
  EXPECT_EQ(table.layout, config.pairing);
  for (int64_t i = 0; i < pairs; ++i) {
    int64_t axis = i < axes.t ? 0 : i < axes.t + axes.h ? 1 : 2;
    if (axes.interleaved) axis = i % 3 == 1 && i < 3 * axes.h ? 1 : i % 3 == 2 && i < 3 * axes.w ? 2 : 0;
    const at::Tensor angles = ids[axis][0].mul(frequencies.inv_freq[i].item<double>());
    EXPECT_TRUE(all_close(table.cos[0][0].select(1, i), angles.cos().mul(frequencies.attention_scale), 1e-6));
    EXPECT_TRUE(all_close(table.sin[0][0].select(1, i), angles.sin().mul(frequencies.attention_scale), 1e-6));
  }
}

}  // namespace
}  // namespace ropescope
