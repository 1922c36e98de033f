#include "ropescope/analysis/simulation.h"

#include <algorithm>
#include <cmath>

#include <Eigen/Core>
#include <boost/random/normal_distribution.hpp>

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/parallel.h"
#include "ropescope/core/random.h"
#include "ropescope/rope/decay_theory.h"
#include "ropescope/rope/frequencies.h"

namespace ropescope {

namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Vector = Eigen::VectorXd;

constexpr int64_t kLargestHeadDim = 4096;
constexpr int64_t kMostDistances = 10'000'000;
/// Trials that are held at once; a fixed number, so that sums do not depend on the threads.
constexpr int64_t kTrialBlock = 1024;
/// Elements of a table of angles that one task makes: below the size at which LibTorch would split the work
/// by the number of threads.
constexpr int64_t kTableElements = 16'384;

/// Eigen chooses block sizes, and with them the order of sums, by its thread count: one thread a product; the
/// parallel loops are ours.
class SerialEigen {
 public:
  SerialEigen() : threads_(Eigen::nbThreads()) { Eigen::setNbThreads(1); }
  ~SerialEigen() { Eigen::setNbThreads(threads_); }
  SerialEigen(const SerialEigen&) = delete;
  SerialEigen& operator=(const SerialEigen&) = delete;

 private:
  int threads_;
};

/// Mean [2h] and covariance [2h, 2h] of the coefficients (A, B) over the trials: with them the average and
/// the spread at any distance follow without going through the trials again.
struct CoefficientMoments {
  Vector mean;
  Matrix covariance;
};

/// (A, B) of one trial, written to a row of 2h.
void draw_trial(const SimulationOptions& options, int64_t mean_index, int64_t trial, double* row) {
  const int64_t half = options.head_dim / 2;
  const double mean = options.mean[static_cast<size_t>(mean_index)];
  const double rest = std::sqrt(1 - options.correlation * options.correlation);
  Rng rng = make_rng(options.seed, {static_cast<uint64_t>(mean_index), static_cast<uint64_t>(trial)});
  boost::random::normal_distribution<double> normal;
  const auto draw = [&](double& q, double& k) {
    const double x = normal(rng), z = normal(rng);
    q = mean + options.std * x;
    k = mean + options.std * (options.correlation * x + rest * z);
  };
  for (int64_t i = 0; i < half; ++i) {
    double q_low, k_low, q_high, k_high;
    draw(q_low, k_low);
    draw(q_high, k_high);
    row[i] = q_low * k_low + q_high * k_high;
    row[half + i] = q_high * k_low - q_low * k_high;
  }
}

CoefficientMoments simulate_coefficients(const SimulationOptions& options, int64_t mean_index) {
  const int64_t width = options.head_dim;
  CoefficientMoments moments{Vector::Zero(width), Matrix::Zero(width, width)};
  Matrix rows(kTrialBlock, width);
  int64_t seen = 0;
  for (int64_t first = 0; first < options.trials; first += kTrialBlock) {
    const int64_t count = std::min(kTrialBlock, options.trials - first);
    parallel_for_each(count,
                      [&](int64_t i) { draw_trial(options, mean_index, first + i, rows.row(i).data()); });
    auto block = rows.topRows(count);
    const Vector block_mean = block.colwise().mean();
    block.rowwise() -= block_mean.transpose();
    // Chan, Golub, LeVeque: sums of squares about the mean, merged block by block without cancellation.
    const Vector step = block_mean - moments.mean;
    const double total = static_cast<double>(seen + count);
    constexpr int64_t kStrip = 32;
    parallel_for_each((width + kStrip - 1) / kStrip, [&](int64_t i) {
      const int64_t strip = std::min(kStrip, width - i * kStrip);
      moments.covariance.middleRows(i * kStrip, strip).noalias() +=
          block.middleCols(i * kStrip, strip).transpose() * block;
    });
    moments.covariance.noalias() += step * step.transpose() * (static_cast<double>(seen * count) / total);
    moments.mean += step * (static_cast<double>(count) / total);
    seen += count;
  }
  moments.covariance /= static_cast<double>(options.trials - 1);
  return moments;
}

/// cos(m f_i) above -sin(m f_i), [2h, length] for the distances from `first`: the causal sign.
Matrix angle_table(const at::Tensor& inv_freq, int64_t first, int64_t length) {
  const int64_t half = inv_freq.numel();
  const double* f = inv_freq.const_data_ptr<double>();
  Matrix table(2 * half, length);
  for (int64_t i = 0; i < half; ++i) {
    for (int64_t j = 0; j < length; ++j) {
      const double angle = static_cast<double>(first + j) * f[i];
      table(i, j) = std::cos(angle);
      table(half + i, j) = -std::sin(angle);
    }
  }
  return table;
}

double greatest_deviation(const SimulationResult& result) {
  const at::Tensor error = result.variance.div(static_cast<double>(result.options.trials)).sqrt();
  const at::Tensor deviation = result.average.sub(result.expected).abs();
  return deviation.div(error).masked_fill(error.eq(0), 0.0).max().item<double>();
}

}  // namespace

void SimulationOptions::validate() const {
  if (head_dim < 2 || head_dim % 2 != 0 || head_dim > kLargestHeadDim) {
    throw UsageError("--dim: expected an even number from 2 to {}, found {}", kLargestHeadDim, head_dim);
  }
  if (mean.empty()) throw UsageError("--mean: expected at least one number");
  if (theta.empty()) throw UsageError("--theta: expected at least one number");
  for (const double base : theta) {
    if (!(base > 1) || !std::isfinite(base))
      throw UsageError("--theta: expected numbers above 1, found {}", base);
  }
  if (!(std >= 0) || !std::isfinite(std)) throw UsageError("--std: expected a number >= 0, found {}", std);
  if (!(correlation >= -1 && correlation <= 1)) {
    throw UsageError("--correlation: expected a number from -1 to 1, found {}", correlation);
  }
  if (trials < 2) throw UsageError("--trials: expected at least 2, found {}", trials);
  if (max_distance < 0 || max_distance > kMostDistances) {
    throw UsageError("--max-distance: expected 0 to {}, found {}", kMostDistances, max_distance);
  }
}

SimulationResult simulate(const SimulationOptions& options) {
  options.validate();
  const SerialEigen serial;
  const auto means = static_cast<int64_t>(options.mean.size()),
             thetas = static_cast<int64_t>(options.theta.size());
  const int64_t distances = options.max_distance + 1, half = options.head_dim / 2;

  SimulationResult result;
  result.options = options;
  result.mean = at::tensor(options.mean, at::kDouble);
  result.theta = at::tensor(options.theta, at::kDouble);
  result.distance = at::arange(distances, at::kLong);
  for (at::Tensor* values : {&result.average, &result.expected, &result.std, &result.variance}) {
    *values = at::empty({means, thetas, distances}, at::kDouble);
  }

  std::vector<CoefficientMoments> moments;
  for (int64_t u = 0; u < means; ++u) moments.push_back(simulate_coefficients(options, u));
  std::vector<at::Tensor> inv_freq;
  for (const double base : options.theta) {
    RopeConfig config;
    config.theta = base;
    inv_freq.push_back(make_frequencies(config, options.head_dim, 0, 0).inv_freq);
  }

  const int64_t tile = std::max<int64_t>(1, kTableElements / half);
  const int64_t tiles = (distances + tile - 1) / tile;
  parallel_for_each(thetas * tiles, [&](int64_t task) {
    const int64_t t = task / tiles, first = task % tiles * tile;
    const int64_t length = std::min(tile, distances - first);
    const at::Tensor& frequency = inv_freq[static_cast<size_t>(t)];
    const at::Tensor distance = result.distance.narrow(0, first, length);
    const Matrix table = angle_table(frequency, first, length);
    Matrix spread(2 * half, length);
    for (int64_t u = 0; u < means; ++u) {
      const CoefficientMoments& of_mean = moments[static_cast<size_t>(u)];
      const int64_t offset = (u * thetas + t) * distances + first;
      Eigen::Map<Eigen::RowVectorXd> average(result.average.mutable_data_ptr<double>() + offset, length);
      Eigen::Map<Eigen::RowVectorXd> std(result.std.mutable_data_ptr<double>() + offset, length);
      average.noalias() = of_mean.mean.transpose() * table;
      spread.noalias() = of_mean.covariance * table;
      std = spread.cwiseProduct(table).colwise().sum().cwiseMax(0.0).cwiseSqrt();  // w' Cov w
      const double mean = options.mean[static_cast<size_t>(u)];
      result.expected[u][t]
          .narrow(0, first, length)
          .copy_(gaussian_expectation(mean, mean, options.std, options.correlation, distance, frequency));
      result.variance[u][t]
          .narrow(0, first, length)
          .copy_(gaussian_variance(mean, mean, options.std, options.correlation, distance, frequency));
    }
  });
  if (!at::isfinite(result.average).all().item<bool>() || !at::isfinite(result.std).all().item<bool>()) {
    throw NumericsError("simulation: the inner products overflow; use smaller --mean or --std");
  }
  result.worst_standard_errors = greatest_deviation(result);
  return result;
}

void write_simulation(ResultWriter& writer, const std::string& group, const SimulationResult& result) {
  writer.write(group + "/mean", result.mean);
  writer.write(group + "/theta", result.theta);
  writer.write(group + "/distance", result.distance);
  writer.write(group + "/average", result.average);
  writer.write(group + "/expected", result.expected);
  writer.write(group + "/std", result.std);
  writer.write(group + "/variance", result.variance);
  const SimulationOptions& options = result.options;
  writer.attribute(group, "dim", options.head_dim);
  writer.attribute(group, "channel_std", options.std);
  writer.attribute(group, "correlation", options.correlation);
  writer.attribute(group, "trials", options.trials);
  writer.attribute(group, "sign", int64_t{-1});
  writer.attribute(group, "worst_standard_errors", result.worst_standard_errors);
}

}  // namespace ropescope
