// The decoder under every scheme: generation with and without a cache, text-only agreement, embeddings,
// errors.
#include <gtest/gtest.h>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>

#include "ropescope/core/errors.h"
#include "ropescope/models/decoder.h"
#include "ropescope/models/generate.h"

#include "tests/models/tiny_models.h"
#include "tests/support/golden.h"
#include "tests/support/schemes.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

// A decoder with 6 query heads over 3 key/value heads: mhrope needs three.
Decoder random_decoder() {
  Decoder decoder;
  DecoderConfig& config = decoder.config;
  config.hidden_size = 48;
  config.intermediate_size = 64;
  config.num_hidden_layers = 3;
  config.num_attention_heads = 6;
  config.num_key_value_heads = 3;
  config.head_dim = 32;
  config.vocab_size = 97;
  config.max_position_embeddings = 512;
  config.rms_norm_eps = 1e-6;
  fill_equal_layers(config);
  auto generator = at::detail::createCPUGenerator(11);
  const auto weight = [&](int64_t rows, int64_t columns) {
    return at::randn({rows, columns}, generator, at::TensorOptions(at::kFloat)).mul(0.3);
  };
  decoder.weights.embed_tokens = weight(config.vocab_size, 48);
  decoder.weights.lm_head = decoder.weights.embed_tokens;
  decoder.weights.norm = at::ones({48});
  for (int64_t l = 0; l < config.num_hidden_layers; ++l) {
    DecoderLayerWeights layer;
    layer.input_norm = layer.mlp_norm = at::ones({48});
    layer.q = weight(6 * 32, 48);
    layer.k = weight(3 * 32, 48);
    layer.v = weight(3 * 32, 48);
    layer.o = weight(48, 6 * 32);
    layer.gate = weight(64, 48);
    layer.up = weight(64, 48);
    layer.down = weight(48, 64);
    decoder.weights.layers.push_back(layer);
  }
  return decoder;
}

at::Tensor random_ids(int64_t batch, int64_t tokens) {
  return at::randint(97, {batch, tokens}, at::detail::createCPUGenerator(5), at::TensorOptions(at::kLong));
}

class SchemesInTheDecoder : public ::testing::TestWithParam<std::string> {
 protected:
  at::Tensor logits(const at::Tensor& ids, const SequenceEncoding& encoding) const {
    const PassEncoding pass = encoding.pass(0, ids.size(1));
    ForwardInput input;
    input.input_ids = ids;
    input.encoding = &pass;
    return forward(decoder_, input).logits;
  }

  Decoder decoder_ = random_decoder();
  Scheme scheme_{GetParam()};
  at::NoGradGuard no_grad_;
};

INSTANTIATE_TEST_SUITE_P(Schemes, SchemesInTheDecoder, ::testing::ValuesIn(all_schemes()),
                         [](const auto& entry) { return test_name(entry.param); });

TEST_P(SchemesInTheDecoder, CachedGenerationEqualsRunningEverythingAgain) {
  const Layout layout = parse_layout(tiles_for(GetParam(), "text:3,anyres:3x3+5x4,text:2,image:4x4,text:4"));
  const at::Tensor ids = random_ids(2, layout.tokens());
  const SequenceEncoding encoding(scheme_, layout, encoded_model(decoder_.config));
  constexpr int64_t kNew = 5;
  GenerateInput input;
  input.input_ids = ids;
  input.encoding = &encoding;
  GenerateOptions options;
  options.max_new_tokens = kNew;
  options.ignore_end = true;
  // The logits that generation saw, step by step through the cache.
  std::vector<at::Tensor> seen;
  options.choose = [&](const at::Tensor& step) {
    seen.push_back(step.clone());
    return step.argmax(-1);
  };
  const at::Tensor generated = generate(decoder_, input, options).ids;
  const at::Tensor again = logits(at::cat({ids, generated}, 1), encoding);
  for (int64_t j = 0; j < kNew; ++j) {
    EXPECT_TRUE(all_close(seen[static_cast<size_t>(j)], again.select(1, layout.tokens() - 1 + j), 2e-4, 1e-5))
        << j;
  }
}

TEST_P(SchemesInTheDecoder, TextAloneIsPlainWhereTheSchemePromisesIt) {
  const at::Tensor ids = random_ids(1, 24);
  const EncodedModel model = encoded_model(decoder_.config);
  const Layout layout = parse_layout("text:24");
  const at::Tensor plain = logits(ids, SequenceEncoding(Scheme("vanilla"), layout, model));
  const at::Tensor under = logits(ids, SequenceEncoding(scheme_, layout, model));
  const std::string& text = scheme_.text();
  const bool changes_text = text.find("hope") == 0 || text.find("alibi") != std::string::npos ||
                            text.find("text_spatial_zero") != std::string::npos ||
                            text.find("log_freq_scale") != std::string::npos ||
                            text.find("text=projected") != std::string::npos || text.find("mixed") == 0;
  const bool equal = bool(all_close(under, plain, 1e-4));
  EXPECT_EQ(equal, !changes_text);
}

TEST_P(SchemesInTheDecoder, EmbeddingsInPlaceOfIdsGenerateTheSame) {
  const Layout layout = parse_layout("text:3,image:3x3,text:4");
  const SequenceEncoding encoding(scheme_, layout, encoded_model(decoder_.config));
  GenerateInput input;
  input.input_ids = random_ids(1, layout.tokens());
  input.encoding = &encoding;
  GenerateOptions options;
  options.max_new_tokens = 4;
  const Generation by_ids = generate(decoder_, input, options);
  input.inputs_embeds = at::embedding(decoder_.weights.embed_tokens, input.input_ids);
  EXPECT_TRUE(generate(decoder_, input, options).ids.equal(by_ids.ids));
}

TEST(SchemesInTheDecoderErrors, PaddingUnderARuleAndWrongLengthsAreRefused) {
  const Decoder decoder = random_decoder();
  const Layout layout = parse_layout("text:2,image:2x2,text:2");
  const SequenceEncoding encoding(Scheme("dipe"), layout, encoded_model(decoder.config));
  const PassEncoding pass = encoding.pass(0, 8);
  ForwardInput input;
  input.input_ids = random_ids(1, 8);
  input.encoding = &pass;
  input.attention_mask = at::ones({1, 8}, at::kLong);
  EXPECT_NO_THROW(forward(decoder, input));
  input.attention_mask[0][0] = 0;
  EXPECT_THROW(forward(decoder, input), InputError);
  GenerateInput generation;
  generation.input_ids = random_ids(1, 9);
  generation.encoding = &encoding;
  EXPECT_THROW(generate(decoder, generation), InputError);
}

TEST(SchemesInTheDecoderErrors, DynamicNtkRunsEverythingAgainWhenIdsOutgrowTheContext) {
  const Decoder base = random_decoder();
  Decoder decoder = base;
  decoder.config.rope().type = RopeType::kDynamic;
  decoder.config.rope().factor = 4;
  decoder.config.max_position_embeddings = 20;
  const Layout layout = parse_layout("text:3,anyres:3x3+6x6,text:4");
  const at::Tensor ids = random_ids(1, layout.tokens());
  GenerateOptions options;
  options.max_new_tokens = 8;
  options.ignore_end = true;
  // 55 tokens, but under id-align only 16 ids: the frequencies change when the 21st id is taken.
  const SequenceEncoding encoding(Scheme("id-align"), layout, encoded_model(decoder.config));
  EXPECT_FALSE(encoding.frequencies_change_until(layout.tokens() + 4));
  EXPECT_TRUE(encoding.frequencies_change_until(layout.tokens() + 5));
  GenerateInput input;
  input.input_ids = ids;
  input.encoding = &encoding;
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> seen;
  options.choose = [&](const at::Tensor& step) {
    seen.push_back(step.clone());
    return step.argmax(-1);
  };
  const at::Tensor all = at::cat({ids, generate(decoder, input, options).ids}, 1);
  const int64_t length = layout.tokens() + 7;
  const PassEncoding pass = encoding.pass(0, length);
  ForwardInput whole;
  whole.input_ids = all.narrow(1, 0, length);
  whole.encoding = &pass;
  EXPECT_TRUE(all_close(seen.back(), forward(decoder, whole).logits.select(1, length - 1), 2e-4, 1e-5));
}

}  // namespace
}  // namespace ropescope
