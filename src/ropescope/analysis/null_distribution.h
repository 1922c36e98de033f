// A number of every head beside what chance gives it: draws of a null, quantiles, p values, and which heads remain when so
// many are tested at once.
#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

namespace ropescope {

struct NullTest {
  at::Tensor mean, low, high;  ///< of the draws: mean, 2.5 % and 97.5 % quantiles
  /// (1 + draws at or above the observed value) / (1 + draws): exact under the null, never below 1 / (1 + draws).
  at::Tensor p_above;
  at::Tensor p_two_sided;  ///< twice the smaller of the two tails, at most 1
};

/// `observed` [...], `draws` [N, ...], float64. NaN where the observed value is NaN.
NullTest test_against_null(const at::Tensor& observed, const at::Tensor& draws);

/// Benjamini and Hochberg (1995): which hypotheses are rejected so that at most `level` of the rejected ones are expected to
/// be true. Bool, in the shape of `p`; p that are NaN are no tests and are never rejected.
at::Tensor false_discovery_rejections(const at::Tensor& p, double level = 0.05);

/// Share of the tests (p that are not NaN) that hold; NaN without tests.
double share_of_tests(const at::Tensor& holds, const at::Tensor& p);

}  // namespace ropescope
