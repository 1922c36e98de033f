#include "ropescope/models/kernels/rms_norm.h"

#include <algorithm>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/square.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/autograd.h"
#include "ropescope/core/device_branch.h"
#include "ropescope/models/kernels/row_loops.h"

namespace ropescope::kernels {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

int64_t count_rows(const at::Tensor& x) { return x.numel() / std::max<int64_t>(1, x.size(-1)); }

// y as x, scale [rows]
std::pair<at::Tensor, at::Tensor> normalised(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const int64_t width = x.size(-1), rows = count_rows(x);
  const at::Tensor y = at::empty_like(x), scale = at::empty({rows}, x.options());
  const auto* in = x.const_data_ptr<float>();
  const auto* w = weight.const_data_ptr<float>();
  auto* out = y.mutable_data_ptr<float>();
  auto* scales = scale.mutable_data_ptr<float>();
  const auto grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, width));
  at::parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) {
    rms_norm_rows(in + begin * width, w, out + begin * width, scales + begin, end - begin, width, eps);
  });
  return {y, scale};
}

class RmsNorm : public torch::autograd::Function<RmsNorm> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            double eps) {
    const auto [y, scale] = normalised(x, weight, eps);
    context->save_for_backward({x, weight, scale});
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list outer) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1];
    const at::Tensor dy = outer[0].contiguous();
    const int64_t width = x.size(-1), rows = count_rows(x);
    // Rows are dealt to a fixed number of sums, whatever the number of threads: the same gradient on all.
    constexpr int64_t kParts = 16;
    const int64_t part = (rows + kParts - 1) / kParts;
    at::Tensor dx, dw;
    if (x.requires_grad()) dx = at::empty_like(x);
    if (weight.requires_grad()) dw = at::zeros({kParts, width}, x.options());
    const auto* from = dy.const_data_ptr<float>();
    const auto* in = x.const_data_ptr<float>();
    const auto* w = weight.const_data_ptr<float>();
    const auto* scales = saved[2].const_data_ptr<float>();
    float* to = dx.defined() ? dx.mutable_data_ptr<float>() : nullptr;
    float* sums = dw.defined() ? dw.mutable_data_ptr<float>() : nullptr;
    at::parallel_for(0, kParts, rows * width < 16384 ? kParts : 1, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const int64_t begin = std::min(rows, i * part), end = std::min(rows, begin + part);
        rms_norm_rows_backward(from + begin * width, in + begin * width, w, scales + begin,
                               to == nullptr ? nullptr : to + begin * width,
                               sums == nullptr ? nullptr : sums + i * width, end - begin, width);
      }
    });
    return {dx, dw.defined() ? dw.sum(0) : dw, at::Tensor()};
  }
};

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const bool plain_float = x.scalar_type() == at::kFloat && weight.scalar_type() == at::kFloat;
  if (plain_float && own_cpu_kernels(x) && x.is_contiguous() && weight.is_contiguous()) {
    return at::GradMode::is_enabled() ? RmsNorm::apply(x, weight, eps) : normalised(x, weight, eps).first;
  }
  const at::Tensor wide = x.scalar_type() == at::kDouble ? x : x.to(at::kFloat);
  const at::Tensor scale = at::rsqrt(at::mean(at::square(wide), -1, /*keepdim=*/true).add(eps));
  return wide.mul(scale).to(x.scalar_type()).mul(weight);
}

}  // namespace ropescope::kernels
