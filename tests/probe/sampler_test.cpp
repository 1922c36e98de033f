#include "ropescope/probe/sampler.h"

#include <cmath>

#include <gtest/gtest.h>

#include <ATen/Parallel.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/tensor_operators.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using testing::all_close;

Decoder tiny_model(const std::string& form) {
  const std::string path = testing::golden_path("language/" + form);
  return load_decoder(*open_checkpoint(path), read_decoder_config(path), {});
}

/// Texts of chosen lengths with arbitrary token ids.
TextSet texts_of(const std::vector<int64_t>& lengths) {
  TextSet set;
  for (size_t t = 0; t < lengths.size(); ++t) {
    TokenizedText text;
    text.name = "text " + std::to_string(t);
    for (int64_t i = 0; i < lengths[t]; ++i) {
      text.ids.push_back(3 + (i * 37 + static_cast<int64_t>(t) * 101 + i * i) % 340);
    }
    set.texts.push_back(text);
  }
  return set;
}

/// q [L, H, n, D] and k [L, K, n, D] of one text, straight from the taps.
std::pair<at::Tensor, at::Tensor> all_vectors(const Decoder& decoder, const std::vector<int64_t>& ids) {
  const RotaryTable rotary = plain_rotary_table(decoder.config, static_cast<int64_t>(ids.size()));
  ForwardInput input;
  input.input_ids = at::tensor(ids, at::kLong).view({1, -1});
  input.rotary = &rotary;
  std::vector<at::Tensor> q, k;
  Taps taps;
  taps.qk = [&](int64_t, const at::Tensor& q_BHTD, const at::Tensor& k_BKTD) {
    q.push_back(q_BHTD[0].clone());
    k.push_back(k_BKTD[0].clone());
  };
  forward(decoder, input, {}, taps);
  return {at::stack(q), at::stack(k)};
}

TEST(Sampler, DrawnPairsAreTheVectorsOfTheirTokens) {
  const Decoder decoder =
      tiny_model("qwen2-tiny/safetensors-bf16-tied");  // 4 query heads share 2 key/value heads
  const TextSet texts = texts_of({20, 33});
  SampleOptions options;
  options.draw.seed = 3;
  const Samples samples = sample_texts(decoder, texts, options);
  ASSERT_EQ(samples.pairs.size(), 2 * 3 * 10);
  std::vector<std::pair<at::Tensor, at::Tensor>> vectors;
  for (const TokenizedText& text : texts.texts) vectors.push_back(all_vectors(decoder, text.ids));
  for (int64_t i = 0; i < samples.pairs.size(); ++i) {
    const auto at_row = [&](const at::Tensor& column) { return column[i].item<int64_t>(); };
    const auto& [q, k] = vectors[static_cast<size_t>(at_row(samples.pairs.text))];
    const int64_t layer = at_row(samples.pairs.layer);
    const int64_t head = at_row(samples.pairs.head);
    EXPECT_TRUE(all_close(samples.pairs.q[i], q[layer][head][at_row(samples.pairs.query)], 2e-5));
    EXPECT_TRUE(all_close(samples.pairs.k[i], k[layer][head / 2][at_row(samples.pairs.key)], 2e-5));
  }
}

TEST(Sampler, PackingAndOtherMeasurementsChangeNothing) {
  const Decoder decoder = tiny_model("llama-tiny/safetensors-fp32");
  const TextSet texts = texts_of({20, 33, 5, 40, 12});
  SampleOptions options;
  options.moments = true;
  options.profile = true;
  options.draw.skip_first = 1;
  const Samples packed = sample_texts(decoder, texts, options);
  options.tokens_per_pass = 1;
  const Samples alone = sample_texts(decoder, texts, options);
  EXPECT_TRUE(packed.pairs.query.equal(alone.pairs.query));
  EXPECT_TRUE(packed.pairs.head.equal(alone.pairs.head));
  EXPECT_TRUE(all_close(packed.pairs.q, alone.pairs.q, 2e-5));
  EXPECT_TRUE(all_close(packed.pairs.k, alone.pairs.k, 2e-5));
  EXPECT_TRUE(all_close(packed.moments->mean_k, alone.moments->mean_k, 1e-5));
  EXPECT_TRUE(all_close(packed.moments->cov_q, alone.moments->cov_q, 1e-4));
  EXPECT_TRUE(all_close(packed.profile->mean, alone.profile->mean, 1e-4));

  SampleOptions pairs_only;
  pairs_only.draw.skip_first = 1;
  const Samples pairs = sample_texts(decoder, texts, pairs_only);
  EXPECT_TRUE(pairs.pairs.q.equal(packed.pairs.q));
  EXPECT_GE(pairs.pairs.key.min().item<int64_t>(), 1);
}

TEST(Sampler, SameSeedGivesTheSameBits) {
  const Decoder decoder = tiny_model("llama-tiny/safetensors-fp32");
  const TextSet texts = texts_of({50, 33});
  SampleOptions options;
  options.moments = true;
  options.profile = true;
  const Samples first = sample_texts(decoder, texts, options);
  const Samples second = sample_texts(decoder, texts, options);
  EXPECT_TRUE(first.pairs.q.equal(second.pairs.q));
  EXPECT_TRUE(first.moments->cov_k.equal(second.moments->cov_k));
  EXPECT_TRUE(first.profile->mean.equal(second.profile->mean));
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const Samples one_thread = sample_texts(decoder, texts, options);
  at::set_num_threads(threads);
  EXPECT_TRUE(one_thread.pairs.query.equal(first.pairs.query));
  EXPECT_TRUE(all_close(one_thread.pairs.q, first.pairs.q, 2e-5));
}

TEST(Sampler, MomentsAndProfileEqualTheirDefinitions) {
  const Decoder decoder = tiny_model("qwen2-tiny/safetensors-bf16-tied");
  const TextSet texts = texts_of({20, 33});
  SampleOptions options;
  options.moments = true;
  options.profile = true;
  options.draw.skip_first = 2;
  options.draw.pairs = 0;
  options.layers = {1};
  options.heads = {1, 2};
  const Samples samples = sample_texts(decoder, texts, options);
  EXPECT_EQ(samples.pairs.size(), 0);
  EXPECT_TRUE(samples.moments->mean_q[0].isnan().all().item<bool>());
  EXPECT_TRUE(samples.moments->mean_k[1][0].isnan().all().item<bool>());
  EXPECT_TRUE(samples.profile->mean[1][3].isnan().all().item<bool>());
  EXPECT_EQ(samples.moments->count[1][2].item<int64_t>(), 18 + 31);
  EXPECT_EQ(samples.profile->count[3].item<int64_t>(), 15 + 28);

  std::vector<at::Tensor> sums;
  std::vector<at::Tensor> k_of_head2;
  for (const TokenizedText& text : texts.texts) {
    const auto [q, k] = all_vectors(decoder, text.ids);
    const int64_t tokens = static_cast<int64_t>(text.ids.size());
    const RotaryTable rotary = plain_rotary_table(decoder.config, tokens);
    const at::Tensor q_rotated = apply_rotary(q[1].unsqueeze(0), rotary)[0][2].to(at::kDouble);
    const at::Tensor k_rotated = apply_rotary(k[1].unsqueeze(0), rotary)[0][1].to(at::kDouble);
    const at::Tensor logits =
        q_rotated.matmul(k_rotated.t()).narrow(0, 2, tokens - 2).narrow(1, 2, tokens - 2);
    sums.push_back(logits.diagonal(-3).sum());
    k_of_head2.push_back(k[1][1].narrow(0, 2, tokens - 2));
  }
  EXPECT_NEAR(samples.profile->mean[1][2][3].item<double>(), (sums[0] + sums[1]).item<double>() / 43.0, 1e-4);
  EXPECT_TRUE(all_close(samples.moments->mean_k[1][2], at::cat(k_of_head2).mean(0), 1e-5));
}

TEST(Sampler, ImpossibleChoicesAreUsageErrors) {
  const Decoder decoder = tiny_model("llama-tiny/safetensors-fp32");
  const TextSet texts = texts_of({20});
  SampleOptions options;
  options.layers = {3};
  EXPECT_THROW(sample_texts(decoder, texts, options), UsageError);
  options.layers = {};
  options.heads = {4};
  EXPECT_THROW(sample_texts(decoder, texts, options), UsageError);
  options.heads = {};
  options.draw.pairs = 0;
  EXPECT_THROW(sample_texts(decoder, texts, options), UsageError);
}

}  // namespace
}  // namespace ropescope
