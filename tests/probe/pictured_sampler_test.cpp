// Texts with pictures: q and k as the families' own implementations have them, and what is told apart by kind of token.
#include <gtest/gtest.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/isnan.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/models/vlm.h"
#include "ropescope/probe/sampler.h"
#include "ropescope/rope/layout.h"
#include "ropescope/vision/image.h"
#include "ropescope/vision/media_processor.h"

#include "tests/models/vlm_prompts.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

std::vector<int64_t> list_of(const at::Tensor& ids) {
  const at::Tensor whole = ids.to(at::kLong).contiguous();
  return {whole.const_data_ptr<int64_t>(), whole.const_data_ptr<int64_t>() + whole.numel()};
}

class PicturedSampler : public VlmDecoder {
 protected:
  std::string folder() const { return golden_path("vlm/" + GetParam()); }
  VlmConfig vlm() const { return parse_vlm_config(read_json_file(folder() + "/config.json"), "config.json"); }

  /// The first case of the family, cut and numbered as any text.
  TokenizedText pictured() const {
    const Json one = vlm_cases(GetParam()).front();
    const MediaProcessor processor = read_media_processor(folder());
    std::vector<MediaPlan> plans;
    for (const Json& name : one.at("images")) {
      const at::Tensor rgb =
          read_image(golden_path("vlm/images/" + name.get<std::string>() + ".png")).rgb_HW3;
      plans.push_back(processor.plan_image(rgb.size(1), rgb.size(0), one.at("images").size() > 1));
    }
    auto media = std::make_shared<TextMedia>();
    const at::Tensor ids = golden_.at(one.at("name").get<std::string>() + ".input_ids").to(at::kLong);
    media->prompt = place_media(ids.unsqueeze(0), {}, plans, media_marks(vlm()), decoder_.config.vocab_size);
    TokenizedText text{"pictured", list_of(ids)};
    text.media = media;
    return text;
  }
  TokenizedText plain(int64_t tokens, int64_t salt) const {
    TokenizedText text{"plain", {}};
    for (int64_t i = 0; i < tokens; ++i) text.ids.push_back(3 + (i * 37 + i * i + salt) % 150);
    return text;
  }
  /// What the family's own eyes gave.
  EmbedTextMedia eyes() const {
    return [this](const TextMedia&) {
      const VlmPrompt prompt = prompt_of(vlm_cases(GetParam()).front());
      return MediaEmbeddings{prompt.embeds, prompt.added, prompt.groups};
    };
  }
  /// Of the l-th layer with queries and keys, [heads, T, D] in float64.
  at::Tensor expected(const std::string& name, size_t l) const {
    return golden_.at(fmt::format("one_image.{}.{}", name, l)).to(at::kDouble);
  }
};

TEST_P(PicturedSampler, PairsAreTheFamilysOwn) {
  TextSet texts;
  texts.texts = {plain(19, 1), pictured(), plain(23, 5)};
  SampleOptions options;
  options.draw.pairs = 60;
  options.draw.seed = 11;
  const Samples samples = sample_texts(decoder_, texts, options, eyes());
  const std::vector<int64_t> layers = layers_with_qk(decoder_.config);
  const std::vector<bool> visual = texts.texts[1].visual();
  std::vector<int64_t> kinds(kPairKinds, 0);
  int64_t compared = 0;
  for (int64_t i = 0; i < samples.pairs.size(); ++i) {
    const auto at_row = [&](const at::Tensor& column) { return column[i].item<int64_t>(); };
    const int64_t query = at_row(samples.pairs.query), key = at_row(samples.pairs.key);
    if (at_row(samples.pairs.text) != 1) {
      EXPECT_EQ(at_row(samples.pairs.kind), 0);
      continue;
    }
    const int64_t head = at_row(samples.pairs.head), layer = at_row(samples.pairs.layer);
    const auto l = static_cast<size_t>(std::find(layers.begin(), layers.end(), layer) - layers.begin());
    const at::Tensor q = expected("q", l), k = expected("k", l);
    const int64_t group = q.size(0) / k.size(0);
    EXPECT_TRUE(all_close(samples.pairs.q[i].to(at::kDouble), q[head][query], kVlmQk))
        << GetParam() << " pair " << i;
    EXPECT_TRUE(all_close(samples.pairs.k[i].to(at::kDouble), k[head / group][key], kVlmQk))
        << GetParam() << " pair " << i;
    const int64_t kind = 2 * static_cast<int64_t>(visual[static_cast<size_t>(query)]) +
                         static_cast<int64_t>(visual[static_cast<size_t>(key)]);
    EXPECT_EQ(at_row(samples.pairs.kind), kind);
    ++kinds[static_cast<size_t>(kind)];
    ++compared;
  }
  EXPECT_EQ(compared, 60 * static_cast<int64_t>(layers.size()));
  for (const int64_t count : kinds) EXPECT_GT(count, 0);
  ASSERT_TRUE(samples.kinds.has_value());
  EXPECT_EQ(samples.kinds->visual_tokens,
            (std::vector<int64_t>{0, std::count(visual.begin(), visual.end(), true), 0}));
}

TEST_P(PicturedSampler, KindsAddUpAndAreTheirTokensAlone) {
  TextSet texts;
  texts.texts = {pictured(), plain(17, 3)};
  SampleOptions options;
  options.draw.pairs = 1;
  options.moments = options.profile = true;
  options.draw.skip_first = 2;
  const Samples samples = sample_texts(decoder_, texts, options, eyes());
  ASSERT_TRUE(samples.kinds.has_value());
  const KindSamples& kinds = *samples.kinds;
  ASSERT_EQ(kinds.moments.size(), 2u);
  ASSERT_EQ(kinds.profiles.size(), 4u);
  const std::vector<bool> visual = texts.texts[0].visual();
  const auto tokens = static_cast<int64_t>(visual.size());
  at::Tensor mask = at::zeros({tokens}, at::kDouble);
  for (int64_t t = 2; t < tokens; ++t) mask[t] = visual[static_cast<size_t>(t)] ? 1.0 : 0.0;

  const std::vector<int64_t> layers = layers_with_qk(decoder_.config);
  for (size_t l = 0; l < layers.size(); ++l) {
    const int64_t layer = layers[l];
    // Only the pictured text has visual tokens: their moments are those of the golden vectors.
    const at::Tensor q = expected("q", l), count = mask.sum();
    const at::Tensor mean = (q * mask.view({1, -1, 1})).sum(1) / count;
    EXPECT_TRUE(all_close(kinds.moments[1].mean_q[layer], mean, kVlmQk)) << GetParam();
    const at::Tensor centred = (q - mean.unsqueeze(1)) * mask.view({1, -1, 1});
    EXPECT_TRUE(
        all_close(kinds.moments[1].cov_q[layer], at::bmm(centred.transpose(1, 2), centred) / count, 1e-3));
    EXPECT_EQ(
        kinds.moments[0].count[layer][0].item<int64_t>() + kinds.moments[1].count[layer][0].item<int64_t>(),
        samples.moments->count[layer][0].item<int64_t>());

    // Sums over pairs of visual queries and visual keys, straight from the rotated vectors.
    const at::Tensor turned_q = expected("q_rotated", l), turned_k = expected("k_rotated", l);
    const int64_t group = turned_q.size(0) / turned_k.size(0);
    for (int64_t head = 0; head < turned_q.size(0); ++head) {
      const at::Tensor logits =
          turned_q[head].matmul(turned_k[head / group].t()) * mask.unsqueeze(1) * mask.unsqueeze(0);
      for (int64_t m = 0; m < tokens - 2; ++m) {
        const double sum = logits.diagonal(-m).sum().item<double>();
        const double pairs =
            (mask.narrow(0, m, tokens - m) * mask.narrow(0, 0, tokens - m)).sum().item<double>();
        EXPECT_EQ(kinds.profiles[3].count[m].item<int64_t>(), static_cast<int64_t>(pairs)) << m;
        const double found = kinds.profiles[3].mean[layer][head][m].item<double>();
        if (pairs == 0) {
          EXPECT_TRUE(std::isnan(found)) << m;
        } else {
          EXPECT_NEAR(found, sum / pairs, 2e-3) << GetParam() << " distance " << m;
        }
      }
    }
  }
  // Every pair is of one kind.
  at::Tensor count = at::zeros_like(samples.profile->count), sum = at::zeros_like(samples.profile->mean);
  for (const ProfileSet& profile : kinds.profiles) {
    count += profile.count;
    sum += (profile.mean * profile.count).nan_to_num(0.0);
  }
  EXPECT_TRUE(count.equal(samples.profile->count));
  EXPECT_TRUE(all_close((sum / count)[layers[0]], samples.profile->mean[layers[0]], 1e-9));
}

TEST_P(PicturedSampler, PicturesBesideThemChangeNoTextAndStreamingChangesNothing) {
  TextSet alone, beside;
  alone.texts = {plain(19, 1), plain(23, 5)};
  beside.texts = {plain(19, 1), plain(23, 5), pictured()};
  SampleOptions options;
  options.draw.seed = 7;
  options.moments = true;
  const Samples before = sample_texts(decoder_, alone, options);
  EXPECT_FALSE(before.kinds.has_value());
  EXPECT_FALSE(before.pairs.kind.defined());
  const Samples after = sample_texts(decoder_, beside, options, eyes());
  const int64_t pairs = before.pairs.size();
  EXPECT_TRUE(after.pairs.q.narrow(0, 0, pairs).equal(before.pairs.q));
  EXPECT_TRUE(after.pairs.k.narrow(0, 0, pairs).equal(before.pairs.k));

  const Decoder streamed = load(WeightMode::kStreamed);
  options.tokens_per_pass = 1;
  SampleRun run(streamed, beside, options, {}, eyes());
  EXPECT_EQ(run.waves(), 1u);
  run.run_wave(0);
  const Samples same = std::move(run.result().front());
  SampleRun again(decoder_, beside, options, {}, eyes());
  EXPECT_EQ(again.waves(), 3u);
  for (size_t wave = 0; wave < again.waves(); ++wave) again.run_wave(wave);
  const Samples resident = std::move(again.result().front());
  EXPECT_TRUE(same.pairs.q.equal(resident.pairs.q));
  EXPECT_TRUE(
      same.kinds->moments[1].cov_k.nan_to_num(-1.0).equal(resident.kinds->moments[1].cov_k.nan_to_num(-1.0)));
}

TEST_P(PicturedSampler, OnlyTextBehindThePicturesIsCut) {
  TokenizedText text = pictured();
  TextMedia media = *text.media;
  const int64_t tokens = media.prompt.input_ids.size(1), least = media.least_tokens();
  ASSERT_LT(least, tokens);
  const std::vector<bool> visual = text.visual();
  for (int64_t t = least; t < tokens; ++t) EXPECT_FALSE(visual[static_cast<size_t>(t)]);
  const at::Tensor whole = own_position_ids(decoder_.config, media.prompt);
  media.cut_to(least + 1);
  EXPECT_EQ(media.prompt.layouts.front().tokens(), least + 1);
  EXPECT_EQ(static_cast<int64_t>(media.prompt.item_of.size()), least + 1);
  if (whole.defined()) {
    EXPECT_TRUE(own_position_ids(decoder_.config, media.prompt).equal(whole.narrow(2, 0, least + 1)));
  }
  EXPECT_THROW(media.cut_to(least - 1), InternalError);
}

TEST_P(PicturedSampler, PicturesNeedEyes) {
  TextSet texts;
  texts.texts = {pictured()};
  EXPECT_THROW(sample_texts(decoder_, texts, {}), InternalError);
}

INSTANTIATE_TEST_SUITE_P(Families, PicturedSampler, ::testing::ValuesIn(golden_vlm_families()),
                         [](const auto& family) { return family.param; });

}  // namespace
}  // namespace ropescope
