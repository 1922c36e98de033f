// Root-mean-square normalisation (arXiv 1910.07467): y = weight * x / sqrt(mean(x^2) + eps).
#pragma once

#include <ATen/core/Tensor.h>

namespace ropescope::kernels {

/// x [..., C], weight [C]. Mean and root in float32, rounded to x's type before the weight, as the models
/// were trained. Differentiable: one pass over float32 rows on CPUs, forward and backward; else ATen
/// operations.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

}  // namespace ropescope::kernels
