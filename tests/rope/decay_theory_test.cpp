#include "ropescope/rope/decay_theory.h"

#include <cmath>
#include <vector>

#include <boost/random/normal_distribution.hpp>
#include <gtest/gtest.h>

#include <ATen/ops/all.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/random.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using testing::all_close;
using testing::golden_json;

// The tolerance of the golden files' README: float64 against float64, a sum of at most 64 terms of order 1e2.
constexpr double kTolerance = 1e-9;

at::Tensor vector_of(const Json& list) { return at::tensor(list.get<std::vector<double>>(), at::kDouble); }

at::Tensor frequencies(int64_t head_dim, double theta) {
  return at::pow(theta, at::arange(head_dim / 2, at::kDouble).mul(-2.0 / static_cast<double>(head_dim)));
}

class GoldenDecay : public ::testing::Test {
 protected:
  Json golden_ = golden_json("positions/decay.json");
  at::Tensor distance_ = vector_of(golden_["m"]);
};

TEST_F(GoldenDecay, CurvesAndBounds) {
  for (const Json& record : golden_["vectors"]) {
    const auto [a, b] = decay_coefficients(vector_of(record["q"]), vector_of(record["k"]));
    EXPECT_TRUE(all_close(a, vector_of(record["A"]), kTolerance));
    EXPECT_TRUE(all_close(b, vector_of(record["B"]), kTolerance));
    for (const Json& series : record["series"]) {
      SCOPED_TRACE(record["kind"].get<std::string>() + " theta " + series["theta"].dump());
      const at::Tensor f = frequencies(record["d"], series["theta"]);
      EXPECT_TRUE(all_close(evaluate_decay(a, b, distance_, f, DecaySign::kPaper),
                            vector_of(series["q_R+m_k"]), kTolerance));
      EXPECT_TRUE(all_close(evaluate_decay(a, b, distance_, f, DecaySign::kCausal),
                            vector_of(series["q_R-m_k"]), kTolerance));
      EXPECT_TRUE(all_close(decay_modulus(a, b, distance_, f), vector_of(series["modulus"]), kTolerance));
      EXPECT_TRUE(all_close(abel_sum(a, b, distance_, f), vector_of(series["abel_sum"]), kTolerance));
      EXPECT_TRUE(all_close(abel_bound(a, b, distance_, f), vector_of(series["abel_bound"]), kTolerance));
    }
  }
}

TEST_F(GoldenDecay, PartialSums) {
  for (const Json& record : golden_["sums"]) {
    const at::Tensor f = frequencies(record["d"], record["theta"]);
    EXPECT_TRUE(all_close(mean_partial_sum(distance_, f), vector_of(record["mean_abs_S"]), kTolerance));
    const at::Tensor dense = mean_partial_sum(at::arange(257), f);
    const int64_t rises = dense.diff().gt(0).sum().item<int64_t>();
    EXPECT_EQ(rises, record["rises_between_consecutive_m_0_to_256"].get<int64_t>());
  }
}

TEST_F(GoldenDecay, GaussianModel) {
  for (const Json& record : golden_["gaussian"]) {
    const at::Tensor f = frequencies(record["d"], record["theta"]);
    const double mean_q = record["mu_q"], mean_k = record["mu_k"], std = record["sigma"];
    EXPECT_TRUE(all_close(gaussian_expectation(mean_q, mean_k, std, 0, distance_, f),
                          vector_of(record["mean"]), kTolerance));
    EXPECT_TRUE(all_close(gaussian_variance(mean_q, mean_k, std, 0, distance_, f),
                          at::full(distance_.sizes(), record["variance"].get<double>(), at::kDouble),
                          kTolerance));
  }
  const Json& record = golden_["gaussian_covariance"];
  const at::Tensor f = frequencies(record["d"], record["theta"]);
  const at::Tensor apart = vector_of(record["dm"]);
  const at::Tensor start = at::full(apart.sizes(), 100.0, at::kDouble);
  EXPECT_TRUE(all_close(gaussian_covariance(record["mu_q"], record["mu_k"], 1, 0, start, start.add(apart), f),
                        vector_of(record["values"]), kTolerance));
}

// The definition itself, pair by pair, without (A, B).
double rotated_inner_product(const at::Tensor& q, const at::Tensor& k, double m, const at::Tensor& f) {
  const int64_t half = f.numel();
  const double* qd = q.const_data_ptr<double>();
  const double* kd = k.const_data_ptr<double>();
  double sum = 0;
  for (int64_t i = 0; i < half; ++i) {
    const double angle = m * f.const_data_ptr<double>()[i];
    const double low = qd[i] * std::cos(angle) - qd[i + half] * std::sin(angle);
    const double high = qd[i + half] * std::cos(angle) + qd[i] * std::sin(angle);
    sum += low * kd[i] + high * kd[i + half];
  }
  return sum;
}

TEST(EvaluateDecay, BatchesBlocksAndFarDistancesMatchTheDefinition) {
  const at::Tensor f = frequencies(16, 1e4);
  const at::Tensor q = at::randn({2, 3, 16}, at::kDouble), k = at::randn({2, 3, 16}, at::kDouble);
  const auto [a, b] = decay_coefficients(q, k);
  const at::Tensor distance = at::arange(0, 10'000);  // integers, and more than two blocks
  const at::Tensor curves = evaluate_decay(a, b, distance, f, DecaySign::kCausal);
  ASSERT_EQ(curves.sizes(), at::IntArrayRef({2, 3, 10'000}));
  const at::Tensor far = evaluate_decay(a, b, at::tensor({1e6, -2.5}, at::kDouble), f, DecaySign::kCausal);
  for (int64_t i = 0; i < 2; ++i) {
    for (int64_t j = 0; j < 3; ++j) {
      const at::Tensor q_one = q[i][j].contiguous(), k_one = k[i][j].contiguous();
      for (const int64_t m : {0, 1, 4095, 4096, 9999}) {
        EXPECT_NEAR(curves[i][j][m].item<double>(), rotated_inner_product(q_one, k_one, m, f), kTolerance);
      }
      EXPECT_NEAR(far[i][j][0].item<double>(), rotated_inner_product(q_one, k_one, 1e6, f), kTolerance);
      EXPECT_NEAR(far[i][j][1].item<double>(), rotated_inner_product(q_one, k_one, -2.5, f), kTolerance);
    }
  }
}

TEST(EvaluateDecay, IsLinearSoAveragesMayComeFirst) {
  const at::Tensor f = frequencies(32, 1e6), distance = at::arange(0, 300, 7);
  const auto [a, b] = decay_coefficients(at::randn({50, 32}), at::randn({50, 32}));
  EXPECT_TRUE(all_close(evaluate_decay(a.mean(0), b.mean(0), distance, f, DecaySign::kCausal),
                        evaluate_decay(a, b, distance, f, DecaySign::kCausal).mean(0), 1e-12));
}

TEST(EvaluateDecay, EmptyListsGiveEmptyCurves) {
  const at::Tensor f = frequencies(8, 1e4);
  EXPECT_EQ(evaluate_decay(at::ones({2, 4}), at::ones({2, 4}), at::empty({0}), f, DecaySign::kCausal).sizes(),
            at::IntArrayRef({2, 0}));
  EXPECT_EQ(evaluate_decay(at::ones({0, 4}), at::ones({0, 4}), at::arange(3), f, DecaySign::kCausal).sizes(),
            at::IntArrayRef({0, 3}));
}

TEST(EvaluateDecay, ShapesThatDoNotFitAreRefused) {
  const at::Tensor f = frequencies(8, 1e4), m = at::arange(3);
  EXPECT_THROW(evaluate_decay(at::ones({5}), at::ones({5}), m, f, DecaySign::kCausal), InternalError);
  EXPECT_THROW(evaluate_decay(at::ones({4}), at::ones({2, 4}), m, f, DecaySign::kCausal), InternalError);
  EXPECT_THROW(decay_coefficients(at::ones({5}), at::ones({5})), InternalError);
  EXPECT_THROW(abel_bound(at::ones({2, 4}), at::ones({2, 4}), m, f), InternalError);
}

TEST(AbelBound, OrderOfTheTermsOfEquation18) {
  const at::Tensor f = frequencies(64, 1e5), distance = at::arange(0, 2000, 3);
  const auto [a, b] = decay_coefficients(at::randn({64}), at::randn({64}));
  const at::Tensor modulus = decay_modulus(a, b, distance, f);
  const at::Tensor middle = abel_sum(a, b, distance, f), bound = abel_bound(a, b, distance, f);
  const auto never_above = [](const at::Tensor& low, const at::Tensor& high) {
    return low.le(high.add(1e-9)).all().item<bool>();
  };
  EXPECT_TRUE(never_above(evaluate_decay(a, b, distance, f, DecaySign::kCausal).abs(), modulus));
  EXPECT_TRUE(never_above(evaluate_decay(a, b, distance, f, DecaySign::kPaper).abs(), middle));
  EXPECT_TRUE(never_above(modulus, middle));
  EXPECT_TRUE(never_above(middle, bound));
}

TEST(DecaySignNames, AreParsed) {
  EXPECT_EQ(parse_decay_sign("causal"), DecaySign::kCausal);
  EXPECT_EQ(parse_decay_sign("paper"), DecaySign::kPaper);
  EXPECT_THROW(parse_decay_sign("Causal"), UsageError);
}

// The formulas with correlation are ours: a simulation written straight from the model's definition checks
// them.
TEST(GaussianModel, MomentsWithCorrelationMatchASimulation) {
  constexpr int64_t kTrials = 40'000, kDim = 8;
  const double mean_q = 0.7, mean_k = -0.4, std = 1.3, correlation = 0.6;
  const at::Tensor f = frequencies(kDim, 100.0),
                   distance = at::tensor({0.0, 1.0, 2.0, 5.0, 40.0}, at::kDouble);
  Rng rng = make_rng(7, {1});
  boost::random::normal_distribution<double> normal;
  at::Tensor q = at::empty({kTrials, kDim}, at::kDouble), k = at::empty({kTrials, kDim}, at::kDouble);
  for (int64_t i = 0; i < kTrials * kDim; ++i) {
    const double x = normal(rng), z = normal(rng);
    q.mutable_data_ptr<double>()[i] = mean_q + std * x;
    k.mutable_data_ptr<double>()[i] =
        mean_k + std * (correlation * x + std::sqrt(1 - correlation * correlation) * z);
  }
  const auto [a, b] = decay_coefficients(q, k);
  const at::Tensor draws = evaluate_decay(a, b, distance, f, DecaySign::kCausal);
  const at::Tensor expected = gaussian_expectation(mean_q, mean_k, std, correlation, distance, f);
  const at::Tensor variance = gaussian_variance(mean_q, mean_k, std, correlation, distance, f);
  const at::Tensor standard_error = variance.div(static_cast<double>(kTrials)).sqrt();
  EXPECT_LT(draws.mean(0).sub(expected).div(standard_error).abs().max().item<double>(), 5.0);
  // Of the second moments too: the standard error of each from the spread of the products themselves.
  const at::Tensor centred = draws.sub(expected);
  for (int64_t i = 0; i < distance.numel(); ++i) {
    for (int64_t j = 0; j <= i; ++j) {
      const at::Tensor products = centred.select(1, i).mul(centred.select(1, j));
      const double error = products.std().item<double>() / std::sqrt(static_cast<double>(kTrials));
      const double closed = gaussian_covariance(mean_q, mean_k, std, correlation, distance.slice(0, i, i + 1),
                                                distance.slice(0, j, j + 1), f)
                                .item<double>();
      EXPECT_NEAR(products.mean().item<double>(), closed, 5 * error) << "distances " << i << ", " << j;
    }
  }
}

TEST(GaussianModel, PerfectCorrelationAtDistanceZeroIsAChiSquare) {
  const at::Tensor f = frequencies(128, 1e4), zero = at::zeros({1}, at::kDouble);
  EXPECT_NEAR(gaussian_expectation(0, 0, 2, 1, zero, f).item<double>(), 128 * 4, 1e-9);
  EXPECT_NEAR(gaussian_variance(0, 0, 2, 1, zero, f).item<double>(), 2 * 128 * 16, 1e-9);
  EXPECT_THROW(gaussian_variance(0, 0, 1, 1.5, zero, f), UsageError);
  EXPECT_THROW(gaussian_expectation(0, 0, -1, 0, zero, f), UsageError);
}

}  // namespace
}  // namespace ropescope
