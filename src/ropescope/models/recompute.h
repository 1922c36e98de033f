// Activation checkpointing: a part of a model whose inner activations are not kept but computed again.
// Source: Chen et al. 2016 (arXiv 1604.06174).
#pragma once

#include <functional>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ropescope {

/// body(x), of which only x is kept; the backward pass calls `body` once more, with the same numbers, and
/// differentiates that. `parameters`: every tensor besides x that `body` uses and that may want a gradient.
/// `body` must not change anything and must own what it uses: it is called after this function has returned.
at::Tensor recomputed(std::function<at::Tensor(const at::Tensor&)> body, const at::Tensor& x,
                      const std::vector<at::Tensor>& parameters);

}  // namespace ropescope
