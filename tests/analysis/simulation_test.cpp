#include "ropescope/analysis/simulation.h"

#include <cmath>
#include <functional>

#include <boost/random/normal_distribution.hpp>
#include <gtest/gtest.h>

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>

#include "ropescope/core/device.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/random.h"
#include "ropescope/rope/decay_theory.h"
#include "ropescope/rope/frequencies.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

SimulationOptions paper_setting() {
  SimulationOptions options;
  options.head_dim = 128;
  options.mean = {0, 0.5, 1, 2};
  options.theta = {1e4, 1e7};
  options.trials = 1000;
  options.max_distance = 1024;
  options.seed = 11;
  return options;
}

// The paper's Fig. 5 setting, plain and with every other parameter off its default.
TEST(Simulation, LiesWithinFiveStandardErrorsOfTheClosedForm) {
  SimulationOptions correlated = paper_setting();
  correlated.std = 1.7;
  correlated.correlation = -0.4;
  correlated.head_dim = 64;
  for (const SimulationOptions& options : {paper_setting(), correlated}) {
    const SimulationResult result = simulate(options);
    EXPECT_GT(result.worst_standard_errors, 0.5);  // it is random after all
    EXPECT_LT(result.worst_standard_errors, 5.0);
    // The spread of one trial: its standard error is about std / sqrt(2 trials), wider for non-normal
    // products.
    const at::Tensor ratio = result.std.square().div(result.variance);
    EXPECT_LT(ratio.sub(1).abs().max().item<double>(), 5 * std::sqrt(3.0 / 1000));
  }
}

TEST(Simulation, AverageAndSpreadAreThoseOfTheTrials) {
  SimulationOptions options;
  options.head_dim = 6;
  options.mean = {0.3, -1};
  options.theta = {100};
  options.std = 0.8;
  options.correlation = 0.5;
  options.trials = 1500;  // more than one block
  options.max_distance = 7;
  options.seed = 3;
  const SimulationResult result = simulate(options);
  RopeConfig config;
  config.theta = 100;
  const at::Tensor f = make_frequencies(config, 6, 0, 0).inv_freq;
  for (uint64_t u = 0; u < 2; ++u) {
    at::Tensor q = at::empty({options.trials, 6}, at::kDouble),
               k = at::empty({options.trials, 6}, at::kDouble);
    for (int64_t n = 0; n < options.trials; ++n) {  // the documented streams, written out
      Rng rng = make_rng(3, {u, static_cast<uint64_t>(n)});
      boost::random::normal_distribution<double> normal;
      for (const int64_t channel : {0, 3, 1, 4, 2, 5}) {
        const double x = normal(rng), z = normal(rng);
        q[n][channel] = options.mean[u] + 0.8 * x;
        k[n][channel] = options.mean[u] + 0.8 * (0.5 * x + std::sqrt(0.75) * z);
      }
    }
    const auto [a, b] = decay_coefficients(q, k);
    const at::Tensor draws = evaluate_decay(a, b, result.distance, f, DecaySign::kCausal);
    const auto index = static_cast<int64_t>(u);
    EXPECT_TRUE(testing::all_close(result.average[index][0], draws.mean(0), 1e-12));
    EXPECT_TRUE(testing::all_close(result.std[index][0], draws.std(0), 1e-12));
  }
}

TEST(Simulation, IsBitIdenticalAtAnyThreadCountAndInAnyRerun) {
  SimulationOptions options = paper_setting();
  options.trials = 1300;
  options.max_distance = 3000;
  options.mean = {0.5, 2};
  const int before = at::get_num_threads();
  set_threads(1);
  const SimulationResult one = simulate(options);
  for (const int threads : {1, 2, 5}) {
    set_threads(threads);
    const SimulationResult other = simulate(options);
    EXPECT_TRUE(at::equal(one.average, other.average)) << threads;
    EXPECT_TRUE(at::equal(one.std, other.std)) << threads;
    EXPECT_TRUE(at::equal(one.expected, other.expected)) << threads;
    EXPECT_TRUE(at::equal(one.variance, other.variance)) << threads;
  }
  set_threads(before);
  options.seed += 1;
  EXPECT_FALSE(at::equal(one.average, simulate(options).average));
}

TEST(Simulation, AMeansDrawsDoNotDependOnThetaOrDistance) {
  SimulationOptions options = paper_setting();
  options.max_distance = 100;
  const SimulationResult both = simulate(options);
  options.theta = {1e7};
  options.max_distance = 30;
  EXPECT_TRUE(testing::all_close(simulate(options).average.select(1, 0),
                                 both.average.select(1, 1).narrow(-1, 0, 31), 1e-12));
}

TEST(Simulation, WithoutSpreadTheAverageIsTheClosedForm) {
  SimulationOptions options = paper_setting();
  options.std = 0;
  options.trials = 2;
  const SimulationResult result = simulate(options);
  EXPECT_TRUE(testing::all_close(result.average, result.expected, 1e-9));
  EXPECT_EQ(result.std.abs().max().item<double>(), 0.0);
  EXPECT_EQ(result.worst_standard_errors, 0.0);
}

TEST(Simulation, FaultyOptionsAreUsageErrorsAndOverflowANumericsError) {
  const auto refuses = [](const std::function<void(SimulationOptions&)>& spoil) {
    SimulationOptions options = paper_setting();
    spoil(options);
    EXPECT_THROW(simulate(options), UsageError);
  };
  refuses([](SimulationOptions& options) { options.head_dim = 7; });
  refuses([](SimulationOptions& options) { options.head_dim = int64_t{1} << 40; });
  refuses([](SimulationOptions& options) { options.mean.clear(); });
  refuses([](SimulationOptions& options) { options.theta = {1}; });
  refuses([](SimulationOptions& options) { options.std = -1; });
  refuses([](SimulationOptions& options) { options.correlation = NAN; });
  refuses([](SimulationOptions& options) { options.trials = 1; });
  refuses([](SimulationOptions& options) { options.max_distance = -1; });
  SimulationOptions huge = paper_setting();
  huge.std = 1e200;
  EXPECT_THROW(simulate(huge), NumericsError);
}

}  // namespace
}  // namespace ropescope
