// A number whose gradients were computed beside it, by loops of our own, for automatic differentiation.
#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

namespace ropescope::miniature {

/// A scalar, differentiable once: its gradients in `inputs` are `gradients`, which are handed out in the backward pass.
at::Tensor with_gradients(double value, const std::vector<at::Tensor>& inputs,
                          std::vector<at::Tensor> gradients);

}  // namespace ropescope::miniature
