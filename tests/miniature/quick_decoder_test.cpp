// The quick passes against the library's: hidden states, loss and every gradient; their products against sums written out.
#include "miniature/quick_decoder.h"

#include <gtest/gtest.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/autograd.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/rope/encoding.h"
#include "ropescope/train/vocabulary_loss.h"

#include "miniature/model.h"
#include "miniature/small_products.h"
#include "miniature/views.h"
#include "tests/support/golden.h"

namespace ropescope::miniature {
namespace {

TEST(SmallProducts, AreSums) {
  for (const auto& [m, n, k] : {std::array<int64_t, 3>{1, 16, 1}, {7, 48, 5}, {19, 80, 33}, {8, 96, 96}}) {
    const at::Tensor left = at::randn({m, k}), right = at::randn({k, n}), before = at::randn({m, n});
    at::Tensor expected = at::zeros({m, n}, at::kDouble);
    for (int64_t i = 0; i < k; ++i) {
      expected += left.select(1, i).to(at::kDouble).unsqueeze(1) * right.select(0, i).to(at::kDouble);
    }
    at::Tensor found = at::empty({m, n}), across = at::empty({k, m});
    multiply({left.const_data_ptr<float>(), k, 1}, right.const_data_ptr<float>(), n,
             found.mutable_data_ptr<float>(), n, m, n, k, false);
    EXPECT_TRUE(testing::all_close(found, expected.to(at::kFloat), 2e-5)) << m << " " << n << " " << k;
    // The same from the transposed left factor, added to what is there.
    transpose(left.const_data_ptr<float>(), k, m, k, across.mutable_data_ptr<float>(), m);
    EXPECT_TRUE(testing::all_close(across, left.t().contiguous(), 0.0));
    found = before.clone();
    multiply({across.const_data_ptr<float>(), 1, m}, right.const_data_ptr<float>(), n,
             found.mutable_data_ptr<float>(), n, m, n, k, true);
    EXPECT_TRUE(testing::all_close(found, (before + expected).to(at::kFloat), 2e-5));
  }
}

struct Case {
  Llava llava;
  PassEncoding encoding;
  at::Tensor embeddings;  // [2, T, C]
  std::vector<int64_t> wanted;
  at::Tensor targets;
  std::vector<float> weights;
};

Case make_case(const std::string& scheme, const Shape& shape) {
  Case made;
  made.llava = fresh_model({}, 1e4, 6);
  const View view = view_of(shape, Order::kLlavaNext);
  const Layout layout = layout_of(view, 6);
  const int64_t tokens = 7 + view.block.tokens();
  made.encoding =
      SequenceEncoding(Scheme(scheme), layout, encoded_model(made.llava.decoder.config)).pass(0, tokens);
  made.embeddings = at::randn({2, tokens, 96});
  for (int64_t token = 17; token < tokens; token += token < 40 ? 1 : 3) made.wanted.push_back(token);
  const auto n = static_cast<int64_t>(made.wanted.size());
  made.targets = at::randint(0, made.llava.decoder.weights.lm_head.size(0), {2, n}, at::kLong);
  for (int64_t i = 0; i < n; ++i) made.weights.push_back(i % 2 == 0 ? 0.01F : 0.03F);
  return made;
}

at::Tensor hidden_of_library(const Case& made, const at::Tensor& embeddings) {
  ForwardInput input;
  input.inputs_embeds = embeddings;
  input.encoding = &made.encoding;
  ForwardOptions options;
  options.logits = ForwardOptions::Logits::kNone;
  return forward(made.llava.decoder, input, options)
      .final_hidden.index_select(1, at::tensor(made.wanted, at::kLong));
}

TEST(QuickPass, IsTheLibrarysPass) {
  for (const char* scheme : {"vanilla", "id-align", "mrope-interleave", "id-align+mrope", "v2pe:delta=0.5"}) {
    for (const Shape& shape : {Shape{8, 8}, Shape{6, 8}}) {
      Case made = make_case(scheme, shape);
      ASSERT_TRUE(is_quick(made.llava.decoder, made.encoding)) << scheme;
      QuickPass pass(made.llava.decoder, made.encoding, made.embeddings.size(1), made.wanted);
      {
        const at::NoGradGuard no_grad;
        EXPECT_TRUE(
            testing::all_close(pass.hidden(made.embeddings), hidden_of_library(made, made.embeddings), 1e-4))
            << scheme << " " << shape.name();
      }
      std::vector<at::Tensor> parameters = pass.parameters();
      for (at::Tensor& parameter : parameters) parameter.set_requires_grad(true);
      at::Tensor embeddings = made.embeddings.clone().set_requires_grad(true);
      const at::Tensor hidden = hidden_of_library(made, embeddings);
      at::Tensor expected;
      for (size_t i = 0; i < made.weights.size(); ++i) {
        const auto place = static_cast<int64_t>(i);
        const at::Tensor part = vocabulary_loss(hidden.select(1, place), made.llava.decoder.weights.lm_head,
                                                made.targets.select(1, place), made.weights[i]);
        expected = expected.defined() ? expected + part : part;
      }
      torch::autograd::backward({expected}, {});
      QuickLoss found = pass.loss(embeddings, made.targets, made.weights);
      EXPECT_NEAR(found.loss.item<double>(), expected.item<double>(), 1e-5 * expected.item<double>());
      double sum = 0;
      for (size_t i = 0; i < found.parts.size(); ++i) sum += made.weights[i] * found.parts[i];
      EXPECT_NEAR(sum, found.loss.item<double>(), 1e-5 * sum);
      std::vector<at::Tensor> gradients = {embeddings.grad().clone()};
      for (const at::Tensor& parameter : parameters) gradients.push_back(parameter.grad().clone());
      embeddings.mutable_grad().reset();
      for (at::Tensor& parameter : parameters) parameter.mutable_grad().reset();
      torch::autograd::backward({found.loss * 2.0}, {});
      parameters.insert(parameters.begin(), embeddings);
      for (size_t i = 0; i < parameters.size(); ++i) {
        const double size = gradients[i].abs().max().item<double>();
        ASSERT_GT(size, 0.0) << i;
        EXPECT_TRUE(testing::all_close(parameters[i].grad() / 2.0, gradients[i], 2e-5 * size))
            << scheme << " " << shape.name() << ", parameter " << i;
      }
    }
  }
}

TEST(QuickPass, LeavesWhatItDoesNotKnowToTheLibrary) {
  const Case plain = make_case("vanilla", {8, 8}), anchored = make_case("dipe", {8, 8});
  EXPECT_FALSE(is_quick(anchored.llava.decoder, anchored.encoding));  // two rotations of one query
  ModelSize size;
  size.width = 72;
  const Llava odd = fresh_model(size, 1e4, 6);
  EXPECT_FALSE(is_quick(odd.decoder, plain.encoding));  // no multiple of 16
}

}  // namespace
}  // namespace ropescope::miniature
