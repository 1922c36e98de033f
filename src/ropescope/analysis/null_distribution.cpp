#include "ropescope/analysis/null_distribution.h"

#include <algorithm>
#include <cmath>

#include <ATen/ops/minimum.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/tensor_operators.h"

namespace ropescope {

namespace {

/// Between order statistics, linearly. `sorted` [N, ...].
at::Tensor quantile_of(const at::Tensor& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size(0) - 1);
  const auto below = static_cast<int64_t>(place);
  const int64_t above = std::min(below + 1, sorted.size(0) - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (place - static_cast<double>(below));
}

}  // namespace

NullTest test_against_null(const at::Tensor& observed, const at::Tensor& draws) {
  const at::Tensor sorted = std::get<0>(at::sort(draws, 0));
  const at::Tensor no_test = observed.isnan();
  const auto tail = [&](const at::Tensor& beyond) {
    return (beyond.sum(0).to(at::kDouble) + 1.0).div(static_cast<double>(draws.size(0) + 1));
  };
  NullTest test;
  test.mean = draws.mean(0);
  test.low = quantile_of(sorted, 0.025);
  test.high = quantile_of(sorted, 0.975);
  const at::Tensor above = tail(draws.ge(observed.unsqueeze(0))),
                   below = tail(draws.le(observed.unsqueeze(0)));
  test.p_above = above.masked_fill(no_test, NAN);
  test.p_two_sided = at::minimum(above, below).mul(2).clamp_max(1).masked_fill(no_test, NAN);
  return test;
}

at::Tensor false_discovery_rejections(const at::Tensor& p, double level) {
  const at::Tensor values = p.contiguous();
  const auto* of_test = values.const_data_ptr<double>();
  std::vector<double> ascending;
  for (int64_t i = 0; i < values.numel(); ++i) {
    if (!std::isnan(of_test[i])) ascending.push_back(of_test[i]);
  }
  std::sort(ascending.begin(), ascending.end());
  double largest = -1;  // p value that is still rejected
  for (size_t i = 0; i < ascending.size(); ++i) {
    if (ascending[i] <= level * static_cast<double>(i + 1) / static_cast<double>(ascending.size()))
      largest = ascending[i];
  }
  return values.le(largest);
}

double share_of_tests(const at::Tensor& holds, const at::Tensor& p) {
  const at::Tensor tests = p.isnan().logical_not();
  const auto count = tests.sum().item<int64_t>();
  if (count == 0) return NAN;
  return static_cast<double>(holds.logical_and(tests).sum().item<int64_t>()) / static_cast<double>(count);
}

}  // namespace ropescope
