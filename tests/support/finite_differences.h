// Gradients against central differences, in float64.
#pragma once

#include <functional>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ropescope::testing {

/// `loss` gives a scalar of `leaves` (float64, requiring gradients), which are moved along random directions.
void expect_finite_differences(const std::function<at::Tensor()>& loss, std::vector<at::Tensor> leaves,
                               double tolerance);

}  // namespace ropescope::testing
