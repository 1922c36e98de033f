#include "ropescope/probe/moments.h"

#include <ATen/ops/bmm.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/tensor_operators.h"

namespace ropescope {

MomentAccumulator::MomentAccumulator(int64_t layers, int64_t heads, int64_t head_dim, int64_t texts)
    : count_(at::zeros({layers, heads}, at::kDouble)),
      mean_(at::zeros({layers, heads, head_dim}, at::kDouble)),
      scatter_(at::zeros({layers, heads, head_dim, head_dim}, at::kDouble)),
      text_mean_(at::zeros({texts, layers, heads, head_dim}, at::kFloat)) {}

void MomentAccumulator::add(int64_t layer, const std::vector<int64_t>& heads, int64_t text,
                            const at::Tensor& x_HTD) {
  const double n = static_cast<double>(x_HTD.size(1));
  const at::Tensor x = x_HTD.to(at::kFloat);
  const at::Tensor mean = x.mean(1, /*keepdim=*/true, at::kDouble);  // [h, 1, D]
  const at::Tensor centred = x - mean.to(at::kFloat);
  const at::Tensor scatter = at::bmm(centred.transpose(1, 2), centred).to(at::kCPU, at::kDouble);
  const at::Tensor text_mean = mean.squeeze(1).to(at::kCPU);
  for (size_t i = 0; i < heads.size(); ++i) {
    const int64_t row = static_cast<int64_t>(i);
    const at::Tensor count = count_.select(0, layer).select(0, heads[i]);
    const at::Tensor total_mean = mean_.select(0, layer).select(0, heads[i]);
    const double before = count.item<double>();
    const at::Tensor shift = text_mean.select(0, row) - total_mean;
    const at::Tensor total_scatter = scatter_.select(0, layer).select(0, heads[i]);
    total_scatter.add_(scatter.select(0, row));
    total_scatter.addr_(shift, shift, 1.0, before * n / (before + n));
    total_mean.add_(shift, n / (before + n));
    count.add_(n);
    text_mean_.select(0, text).select(0, layer).select(0, heads[i]).copy_(text_mean.select(0, row));
  }
}

at::Tensor MomentAccumulator::covariance() const { return scatter_ / count_.unsqueeze(-1).unsqueeze(-1); }

}  // namespace ropescope
