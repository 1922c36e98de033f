#include "ropescope/models/sampling.h"

#include <cmath>
#include <map>
#include <set>

#include <gtest/gtest.h>

#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"

namespace ropescope {
namespace {

at::Tensor logits_of(const std::vector<double>& probabilities) {
  return at::tensor(probabilities, at::kFloat).log().unsqueeze(0);
}

std::map<int64_t, double> shares(SamplingOptions options, const at::Tensor& logits) {
  constexpr int kDraws = 20000;
  TokenSampler sampler(options);
  std::map<int64_t, double> share;
  for (int i = 0; i < kDraws; ++i) share[sampler(logits).item<int64_t>()] += 1.0 / kDraws;
  return share;
}

TEST(TokenSampler, WithoutTemperatureTheLikeliest) {
  TokenSampler sampler({});
  const at::Tensor logits = at::tensor(std::vector<double>{1, 5, 3, 9, 2, 4}, at::kFloat).view({2, 3});
  EXPECT_TRUE(at::equal(sampler(logits), at::tensor(std::vector<int64_t>{1, 0}, at::kLong)));
}

TEST(TokenSampler, DrawsFollowTheProbabilities) {
  const at::Tensor logits = logits_of({0.1, 0.6, 0.3});
  SamplingOptions options;
  options.temperature = 1;
  auto share = shares(options, logits);
  EXPECT_NEAR(share[1], 0.6, 0.02);
  EXPECT_NEAR(share[0], 0.1, 0.02);
  options.temperature = 0.5;  // squares: 0.01, 0.36, 0.09 of 0.46
  share = shares(options, logits);
  EXPECT_NEAR(share[1], 0.36 / 0.46, 0.02);
}

TEST(TokenSampler, TopPKeepsTheShortestListThatReachesIt) {
  const at::Tensor logits = logits_of({0.1, 0.5, 0.3, 0.1});
  SamplingOptions options;
  options.temperature = 1;
  options.top_p = 0.7;
  auto share = shares(options, logits);
  EXPECT_EQ(share.size(), 2u);
  EXPECT_NEAR(share[1], 0.5 / 0.8, 0.02);
  options.top_p = 0.2;
  EXPECT_EQ(shares(options, logits).size(), 1u);
}

TEST(TokenSampler, ASeedIsRepeated) {
  const at::Tensor logits = logits_of({0.2, 0.2, 0.2, 0.2, 0.2});
  SamplingOptions options;
  options.temperature = 1;
  const auto draw = [&](uint64_t seed) {
    options.seed = seed;
    TokenSampler sampler(options);
    std::vector<int64_t> ids;
    for (int i = 0; i < 20; ++i) ids.push_back(sampler(logits).item<int64_t>());
    return ids;
  };
  EXPECT_EQ(draw(1), draw(1));
  EXPECT_NE(draw(1), draw(2));
}

TEST(TokenSampler, RefusesOtherNumbers) {
  for (const auto& [temperature, top_p] :
       std::vector<std::pair<double, double>>{{-1, 1}, {NAN, 1}, {INFINITY, 1}, {1, 0}, {1, 1.1}, {1, NAN}}) {
    SamplingOptions options;
    options.temperature = temperature;
    options.top_p = top_p;
    EXPECT_THROW(TokenSampler{options}, UsageError);
  }
}

}  // namespace
}  // namespace ropescope
