// What attention_run shows beside rows: rows over other keys, and what enters each layer.
#include "ropescope/probe/attention_probe.h"

#include <map>

#include <gtest/gtest.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/tensor_operators.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using testing::all_close;

// Under every rule that a layer may have: its own keys give its own rows, and a key that is made long takes the row.
TEST(AttentionProbe, RowsOverOtherKeysFollowTheLayersRules) {
  const at::NoGradGuard no_grad;
  const std::string path = testing::golden_path("language/llama-tiny/safetensors-fp32");
  const Decoder decoder = load_decoder(*open_checkpoint(path), read_decoder_config(path), LoadOptions{});
  AttentionInput input;
  input.layout = parse_layout("text:2,image:3x4,text:6");
  input.input_ids = at::arange(20, at::kLong).mul(7).remainder(90).unsqueeze(0);
  take_last_text_as_question(input);
  for (const std::string scheme : {"vanilla", "mrope/interleaved", "dipe", "cca", "alibi"}) {
    SCOPED_TRACE(scheme);
    const SequenceEncoding encoding(Scheme(scheme), input.layout, encoded_model(decoder.config));
    AttentionRowRequest request;
    request.queries = {16, 19};
    request.layers.assign(static_cast<size_t>(decoder.config.num_hidden_layers), true);
    std::map<int64_t, at::Tensor> rows, entered;
    int64_t seen = 0;
    request.entering = [&](int64_t layer, const at::Tensor& hidden) { entered[layer] = hidden.clone(); };
    request.other_keys = [&](int64_t layer, const at::Tensor& k, const AttentionRows::RowsOver& rows_over) {
      ++seen;
      ASSERT_EQ(k.size(2), 20);
      EXPECT_TRUE(rows_over({16, 19}, k)[0].equal(rows.at(layer)));
      EXPECT_TRUE(all_close(rows_over({19}, k)[0], rows.at(layer).narrow(1, 1, 1), 1e-6));
      EXPECT_GT(rows_over({19}, k * 2)[0].sub(rows.at(layer).narrow(1, 1, 1)).abs().max().item<double>(),
                1e-3);
      // Keys behind a query stay hidden, whatever they are.
      at::Tensor later = k.clone();
      later.narrow(2, 17, 3).fill_(9.0);
      EXPECT_TRUE(all_close(rows_over({16}, later)[0], rows.at(layer).narrow(1, 0, 1), 1e-6));
    };
    visit_attention_rows(decoder, input, encoding, request,
                         [&](int64_t layer, const at::Tensor& shown) { rows[layer] = shown.clone(); });
    EXPECT_EQ(seen, decoder.config.num_hidden_layers);
    EXPECT_TRUE(entered.at(0).equal(embed_tokens(decoder, input.input_ids)[0]));
    EXPECT_EQ(static_cast<int64_t>(entered.size()), decoder.config.num_hidden_layers);
  }
}

}  // namespace
}  // namespace ropescope
