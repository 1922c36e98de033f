#include "ropescope/models/kernels/rms_norm.h"

#include <algorithm>
#include <cmath>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/square.h>

namespace ropescope::kernels {

namespace {

at::Tensor rms_norm_rows(const at::Tensor& x, const at::Tensor& weight, double eps) {
  at::Tensor out = at::empty_like(x);
  const int64_t width = x.size(-1), rows = x.numel() / std::max<int64_t>(1, width);
  const float* in = x.const_data_ptr<float>();
  const float* w = weight.const_data_ptr<float>();
  float* y = out.mutable_data_ptr<float>();
  const auto grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, width));
  at::parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* __restrict source = in + row * width;
      float* __restrict target = y + row * width;
      double sum = 0;  // a float sum is off by 1e-6, for a whole row at once
#pragma omp simd reduction(+ : sum)
      for (int64_t i = 0; i < width; ++i) sum += static_cast<double>(source[i]) * source[i];
      const auto scale = static_cast<float>(1.0 / std::sqrt(sum / static_cast<double>(width) + eps));
#pragma omp simd
      for (int64_t i = 0; i < width; ++i) target[i] = source[i] * scale * w[i];
    }
  });
  return out;
}

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const bool plain_float = x.scalar_type() == at::kFloat && weight.scalar_type() == at::kFloat;
  if (!at::GradMode::is_enabled() && plain_float && x.device().is_cpu() && x.is_contiguous() &&
      weight.is_contiguous()) {
    return rms_norm_rows(x, weight, eps);
  }
  const at::Tensor wide = x.scalar_type() == at::kDouble ? x : x.to(at::kFloat);
  const at::Tensor scale = at::rsqrt(at::mean(at::square(wide), -1, /*keepdim=*/true).add(eps));
  return wide.mul(scale).to(x.scalar_type()).mul(weight);
}

}  // namespace ropescope::kernels
