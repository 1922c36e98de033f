// The compressed passes against a decoder written out in float64 under automatic differentiation, which chooses tokens for itself;
// and against the plain quick pass where nothing goes.
#include "miniature/compressed_pass.h"

#include <cmath>

#include <gtest/gtest.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/autograd.h"
#include "ropescope/core/tensor_operators.h"

#include "miniature/model.h"
#include "miniature/quick_decoder.h"
#include "miniature/quick_sums.h"
#include "tests/support/golden.h"

namespace ropescope::miniature {
namespace {

constexpr double kTheta = 1e4;
constexpr int64_t kAskings = 3;

struct CompressedCase {
  Llava llava = fresh_model({}, kTheta, 6);
  PictureSequence sequence;
  CompressedInput input;
  CompressedPass::Targets targets;
  std::string scheme;
  Compression compression;

  CompressedCase(const char* its_scheme, const Shape& shape, const Compression& its_compression)
      : scheme(its_scheme), compression(its_compression) {
    const View view = view_of(shape, Order::kLlavaNext);
    sequence = picture_sequence(shape, view, layout_of(view, 2 * kAskings));
    input.embeddings = at::randn({2, sequence.tokens, 96});
    input.features = at::randn({2, sequence.image_tokens, 48});
    input.chance = 11;
    targets.words = at::randint(0, 288, {2, 16}, at::kLong);
    targets.answers = at::randint(0, 288, {2, kAskings}, at::kLong);
    targets.answer_weight = 0.2;
    targets.cell_weight = 0.7;
  }
  CompressedPass pass() const { return {llava.decoder, Scheme(scheme), sequence, compression}; }
};

/// The decoder once more: one picture, T tokens.
class PlainDecoder {
 public:
  PlainDecoder(const CompressedCase& made, std::vector<at::Tensor> parameters)
      : made_(made),
        ids_(Scheme(made.scheme), encoded_model(made.llava.decoder.config), made.sequence, made.compression),
        parameters_(std::move(parameters)) {}

  struct Result {
    at::Tensor hidden;             // [n + q, C]
    std::vector<Members> members;  // of each layer
  };

  /// `dropped`: what chance left, which is the pass's own choice.
  Result run(at::Tensor x, const at::Tensor& features, const Members& dropped) {
    Result result;
    Members members = each_alone(made_.sequence.tokens);
    for (int64_t layer = 0; layer < 3; ++layer) {
      const Members groups = groups_before(layer, members, features, dropped);
      x = reduced(x, groups);
      members = composed(members, groups);
      x = through(layer, x, members);
      result.members.push_back(members);
    }
    std::vector<int64_t> wanted = of_kind(members, true);
    for (const int64_t token : of_kind(members, false)) wanted.push_back(token);
    result.hidden = normed(x.index_select(0, at::tensor(wanted, at::kLong)), parameters_[0]);
    return result;
  }

  std::vector<int64_t> of_kind(const Members& members, bool high) const {
    std::vector<int64_t> tokens;
    for (size_t i = 0; i < members.size(); ++i) {
      const int64_t token = members[i][0], text = token - made_.sequence.tokens + 2 * kAskings;
      const bool is_high = made_.sequence.place_of[static_cast<size_t>(token)] >= 0;
      if (high ? is_high : text >= 0 && text % 2 == 0) tokens.push_back(static_cast<int64_t>(i));
    }
    return tokens;
  }

 private:
  static at::Tensor normed(const at::Tensor& x, const at::Tensor& weight) {
    return x / (x.mul(x).mean(1, true) + 1e-5).sqrt() * weight;
  }

  /// x [heads, T, 32] turned by the ids of what tokens stand for.
  at::Tensor turned(const at::Tensor& x, const Members& members) const {
    const at::Tensor ids = ids_.coordinates(members);
    std::vector<at::Tensor> angles;
    for (int64_t channel = 0; channel < 16; ++channel) {
      const int64_t row = made_.compression.ids == MergedId::kPpe ? channel / 2 : 0;  // eight parts of two
      angles.push_back(ids[row] * std::pow(kTheta, -2.0 * static_cast<double>(channel) / 32));
    }
    const at::Tensor angle = at::stack(angles, 1), a = x.narrow(2, 0, 16), b = x.narrow(2, 16, 16);
    return at::cat({a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()}, 2);
  }

  at::Tensor through(int64_t layer, const at::Tensor& x, const Members& members) {
    const auto weight = [&](int64_t which) {
      return parameters_[static_cast<size_t>(2 + 9 * layer + which)];
    };
    const at::Tensor in = normed(x, weight(0));
    const int64_t tokens = x.size(0);
    const auto heads = [&](const at::Tensor& y) { return y.view({tokens, 3, 32}).transpose(0, 1); };
    const at::Tensor q = turned(heads(in.mm(weight(1).t())), members),
                     k = turned(heads(in.mm(weight(2).t())), members), v = heads(in.mm(weight(3).t()));
    const at::Tensor later = at::ones({tokens, tokens}, at::kDouble).triu(1) * -1e9;
    attention_ = at::softmax(q.matmul(k.transpose(1, 2)) / std::sqrt(32.0) + later, 2);
    keys_ = k.transpose(0, 1).reshape({tokens, 96});
    const at::Tensor y = x + attention_.matmul(v).transpose(0, 1).reshape({tokens, 96}).mm(weight(4).t());
    const at::Tensor between = normed(y, weight(5));
    return y + (at::silu(between.mm(weight(6).t())) * between.mm(weight(7).t())).mm(weight(8).t());
  }

  at::Tensor reduced(const at::Tensor& x, const Members& groups) const {
    std::vector<at::Tensor> rows;
    for (const auto& group : groups) {
      const at::Tensor some = x.index_select(0, at::tensor(group, at::kLong)), mean = some.mean(0);
      const bool keeps_norm = made_.compression.kind == CompressionKind::kTofu && group.size() > 1;
      const at::Tensor norms = some.mul(some).sum(1).sqrt();
      rows.push_back(keeps_norm ? norms.max() * mean / mean.mul(mean).sum().sqrt() : mean);
    }
    return at::stack(rows);
  }

  /// One round of bipartite matching of some rows of `features`, as a list of who is gone and whom it joined.
  static std::vector<std::pair<int64_t, int64_t>> joins(const at::Tensor& features, int64_t gone) {
    const at::Tensor unit = features / features.mul(features).sum(1, true).sqrt();
    const int64_t count = features.size(0);
    const at::Tensor even = at::arange(0, count, 2, at::kLong), odd = at::arange(1, count, 2, at::kLong);
    const auto [best, whom] = unit.index_select(0, even).mm(unit.index_select(0, odd).t()).max(1);
    const at::Tensor order = best.argsort(0, /*descending=*/true);
    std::vector<std::pair<int64_t, int64_t>> list;
    for (int64_t i = 0; i < gone; ++i) {
      const int64_t from = order[i].item<int64_t>();
      list.emplace_back(2 * from, 2 * whom[from].item<int64_t>() + 1);
    }
    return list;
  }

  Members groups_before(int64_t layer, const Members& members, const at::Tensor& features,
                        const Members& dropped) const {
    const Compression& compression = made_.compression;
    const PictureSequence& sequence = made_.sequence;
    Members alone = each_alone(static_cast<int64_t>(members.size()));
    const std::vector<int64_t> high = of_kind(members, true);
    const auto count = static_cast<int64_t>(high.size());
    const auto goes_with = [&](const at::Tensor& rows, int64_t gone, bool merge) {
      for (const auto& [from, to] : joins(rows, gone)) {
        auto &source = alone[static_cast<size_t>(high[static_cast<size_t>(from)])],
             &target = alone[static_cast<size_t>(high[static_cast<size_t>(to)])];
        if (merge) target.insert(target.end(), source.begin(), source.end());
        source.clear();
      }
      Members groups;
      for (auto& group : alone) {
        std::sort(group.begin(), group.end());
        if (!group.empty()) groups.push_back(group);
      }
      std::sort(groups.begin(), groups.end());
      return groups;
    };
    const at::Tensor places = at::tensor(high, at::kLong);
    switch (compression.kind) {
      case CompressionKind::kPool:
        return layer == 0 ? pooled(sequence, compression.amount) : alone;
      case CompressionKind::kDrop:
        return layer == 0 ? dropped : alone;
      case CompressionKind::kTome:
        if (layer > 0) return alone;
        return goes_with(features.index_select(0, places - 1), count - compression.left(count, 0), true);
      case CompressionKind::kPrune: {
        if (layer != 1) return alone;
        const at::Tensor asked = at::tensor(of_kind(members, false), at::kLong);
        const at::Tensor got = attention_.index_select(1, asked).mean(1).mean(0).index_select(0, places);
        const at::Tensor order = got.argsort(0, /*descending=*/true);
        for (int64_t i = compression.left(count, 1); i < count; ++i) {
          alone[static_cast<size_t>(high[static_cast<size_t>(order[i].item<int64_t>())])].clear();
        }
        alone.erase(
            std::remove_if(alone.begin(), alone.end(), [](const auto& group) { return group.empty(); }),
            alone.end());
        return alone;
      }
      case CompressionKind::kTofu: {
        if (layer == 0) return alone;
        const auto all = static_cast<int64_t>(sequence.high.size());
        return goes_with(keys_.index_select(0, places), count - compression.left(all, layer), layer == 2);
      }
      case CompressionKind::kNone:
        break;
    }
    return alone;
  }

  const CompressedCase& made_;
  MergedIds ids_;
  std::vector<at::Tensor> parameters_;
  at::Tensor attention_, keys_;  // of the last layer passed
};

void expect_as_written_out(const char* scheme, const Shape& shape, const char* compress,
                           const char* merged_id) {
  SCOPED_TRACE(fmt::format("{} {} {} {}", scheme, shape.name(), compress, merged_id));
  const CompressedCase made(scheme, shape, parse_compression(compress, merged_id));
  CompressedPass pass = made.pass();
  const CompressedPass::Seen seen = pass.hidden(made.input);
  const CompressedPass::Gradients found = pass.gradients(made.input, made.targets);
  std::vector<at::Tensor> parameters;
  for (const at::Tensor& weight : quick_parameters(made.llava.decoder)) {
    parameters.push_back(weight.to(at::kDouble).clone().set_requires_grad(true));
  }
  const at::Tensor embeddings = made.input.embeddings.to(at::kDouble).clone().set_requires_grad(true);
  PlainDecoder plain(made, parameters);
  at::Tensor loss = at::zeros({}, at::kDouble), answers = at::zeros({}, at::kDouble);
  for (int64_t picture = 0; picture < 2; ++picture) {
    CompressedInput one = made.input;
    one.embeddings = made.input.embeddings.narrow(0, 0, picture + 1);
    one.features = made.input.features.narrow(0, 0, picture + 1);
    pass.hidden(one);  // so that members() are this picture's
    const PlainDecoder::Result expected =
        plain.run(embeddings[picture], made.input.features[picture].to(at::kDouble), pass.members(0));
    for (int64_t layer = 0; layer < 3; ++layer) {
      ASSERT_EQ(pass.members(layer), expected.members[static_cast<size_t>(layer)]) << layer;
    }
    EXPECT_TRUE(testing::all_close(seen.hidden[picture], expected.hidden.detach().to(at::kFloat), 2e-4));
    const at::Tensor chances = at::log_softmax(expected.hidden.mm(parameters[1].t()), 1);
    const int64_t left = seen.cells.size(1);
    std::vector<at::Tensor> cells;
    for (int64_t i = 0; i < left; ++i) {
      const int64_t cell = seen.cells[picture][i].item<int64_t>();
      if (cell >= 0) cells.push_back(chances[i][made.targets.words[picture][cell].item<int64_t>()]);
    }
    if (!cells.empty()) loss = loss - made.targets.cell_weight * at::stack(cells).mean();
    for (int64_t q = 0; q < kAskings; ++q) {
      const int64_t word = made.targets.answers[picture][q].item<int64_t>();
      answers = answers - made.targets.answer_weight * chances[left + q][word];
    }
  }
  loss = loss + answers;
  EXPECT_NEAR(found.loss, loss.item<double>(), 1e-5 * loss.item<double>());
  EXPECT_NEAR(found.answers, answers.item<double>(), 1e-5 * loss.item<double>());
  torch::autograd::backward({loss}, {});
  EXPECT_TRUE(testing::all_close(found.embeddings, embeddings.grad().to(at::kFloat),
                                 2e-5 * embeddings.grad().abs().max().item<double>()));
  for (size_t i = 0; i < parameters.size(); ++i) {
    const double size = parameters[i].grad().abs().max().item<double>();
    ASSERT_GT(size, 0.0) << i;
    EXPECT_TRUE(testing::all_close(found.parameters[i], parameters[i].grad().to(at::kFloat), 2e-5 * size))
        << "parameter " << i;
  }
}

TEST(CompressedPass, PoolsAreMeansAsWrittenOut) {
  expect_as_written_out("vanilla", {6, 8}, "pool-2", "cell");
  expect_as_written_out("id-align", {10, 4}, "pool-3", "mean");
  expect_as_written_out("vanilla", {8, 8}, "pool-2", "ppe");
  expect_as_written_out("id-align", {8, 8}, "pool-4", "after");
}

TEST(CompressedPass, WhatChanceAndLikenessLeaveAsWrittenOut) {
  expect_as_written_out("vanilla", {6, 8}, "drop-50", "after");
  expect_as_written_out("id-align", {8, 8}, "drop-90", "cell");
  expect_as_written_out("id-align", {8, 8}, "tome-40", "mean");
  expect_as_written_out("vanilla", {6, 8}, "tome-50", "ppe");
}

TEST(CompressedPass, BetweenLayersAsWrittenOut) {
  expect_as_written_out("id-align", {8, 8}, "prune-50", "cell");
  expect_as_written_out("vanilla", {6, 8}, "prune-90", "after");
  expect_as_written_out("vanilla", {6, 8}, "tofu-40", "mean");
  expect_as_written_out("id-align", {8, 8}, "tofu-75", "cell");
}

// Chance leaves other tokens in each picture, and the same where it is the same.
TEST(CompressedPass, ChanceIsReproducible) {
  const CompressedCase made("id-align", {8, 8}, parse_compression("drop-75", ""));
  CompressedPass pass = made.pass();
  const at::Tensor cells = pass.hidden(made.input).cells;
  EXPECT_TRUE(cells.equal(pass.hidden(made.input).cells));
  EXPECT_FALSE(cells[0].equal(cells[1]));
  CompressedInput other = made.input;
  other.chance = 12;
  EXPECT_FALSE(cells.equal(pass.hidden(other).cells));
}

// With everything kept the passes are the plain one, to the bit.
TEST(CompressedPass, WithAllTokensIsThePlainPass) {
  for (const CompressionKind kind :
       {CompressionKind::kPrune, CompressionKind::kDrop, CompressionKind::kTofu}) {
    Compression all;
    all.kind = kind;
    all.amount = 0;
    CompressedCase made("id-align", {8, 8}, all);
    const PassEncoding encoding =
        SequenceEncoding(Scheme(made.scheme), made.sequence.layout, encoded_model(made.llava.decoder.config))
            .pass(0, made.sequence.tokens);
    std::vector<int64_t> wanted = made.sequence.high;
    wanted.insert(wanted.end(), made.sequence.asked.begin(), made.sequence.asked.end());
    QuickPass plain(made.llava.decoder, encoding, made.sequence.tokens, wanted);
    CompressedPass pass = made.pass();
    const CompressedPass::Seen seen = pass.hidden(made.input);
    ASSERT_EQ(seen.cells.size(1), 64);
    EXPECT_TRUE(seen.hidden.equal(plain.hidden(made.input.embeddings)));
    const at::Tensor cells = at::tensor(made.sequence.cells, at::kLong);
    const at::Tensor targets = at::cat({made.targets.words.index_select(1, cells), made.targets.answers}, 1);
    std::vector<float> weights(64, static_cast<float>(made.targets.cell_weight / 64));
    weights.resize(64 + kAskings, static_cast<float>(made.targets.answer_weight));
    const QuickPass::Gradients expected = plain.gradients(made.input.embeddings, targets, weights);
    const CompressedPass::Gradients found = pass.gradients(made.input, made.targets);
    EXPECT_NEAR(found.loss, expected.loss, 1e-6 * expected.loss);
    EXPECT_TRUE(found.embeddings.equal(expected.embeddings));
    for (size_t i = 0; i < expected.parameters.size(); ++i) {
      EXPECT_TRUE(found.parameters[i].equal(expected.parameters[i])) << i;
    }
  }
}

// What automatic differentiation hands out is what gradients() gives.
TEST(CompressedPass, LossIsDifferentiable) {
  CompressedCase made("id-align", {6, 8}, parse_compression("prune-50", ""));
  std::vector<at::Tensor> parameters = quick_parameters(made.llava.decoder);
  for (at::Tensor& parameter : parameters) parameter.set_requires_grad(true);
  CompressedPass pass = made.pass();
  const CompressedPass::Gradients expected = pass.gradients(made.input, made.targets);
  made.input.embeddings.set_requires_grad(true);
  const CompressedPass::Loss loss = pass.loss(made.input, made.targets);
  EXPECT_NEAR(loss.loss.item<double>(), expected.loss, 1e-6 * expected.loss);
  torch::autograd::backward({loss.loss * 2.0}, {});
  EXPECT_TRUE((made.input.embeddings.grad() / 2.0).equal(expected.embeddings));
  for (size_t i = 0; i < parameters.size(); ++i) {
    EXPECT_TRUE((parameters[i].grad() / 2.0).equal(expected.parameters[i])) << i;
  }
}

TEST(CompressedPass, AsksForLayers) {
  ModelSize size;
  size.layers = 2;
  const CompressedCase made("id-align", {8, 8}, parse_compression("prune-50", ""));
  const Llava shallow = fresh_model(size, kTheta, 6);
  const auto make = [&](const char* compress) {
    CompressedPass(shallow.decoder, Scheme("id-align"), made.sequence, parse_compression(compress, ""));
  };
  EXPECT_NO_THROW(make("prune-50"));
  EXPECT_THROW(make("tofu-50"), UsageError);
}

}  // namespace
}  // namespace ropescope::miniature
