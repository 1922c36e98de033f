#include "ropescope/probe/moments.h"

#include <algorithm>

#include <ATen/ops/bmm.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/tensor_operators.h"

namespace ropescope {

namespace {

/// Heads of a layer, all at once: steps head by head would cost more than their numbers. What is done to values() is done
/// to the whole tensor [L, H, ...] at the latest when this ends.
class Rows {
 public:
  Rows(const at::Tensor& all, int64_t layer, const std::vector<int64_t>& heads)
      : of_layer_(all.select(0, layer)) {
    const auto count = static_cast<int64_t>(heads.size());
    if (std::is_sorted(heads.begin(), heads.end()) && heads.back() - heads.front() + 1 == count) {
      values_ = of_layer_.narrow(0, heads.front(), count);
      return;
    }
    index_ = at::tensor(heads, at::kLong);
    values_ = of_layer_.index_select(0, index_);
  }
  ~Rows() noexcept(false) {
    if (index_.defined()) of_layer_.index_copy_(0, index_, values_);
  }
  Rows(const Rows&) = delete;
  Rows& operator=(const Rows&) = delete;

  const at::Tensor& values() const { return values_; }

 private:
  at::Tensor of_layer_, index_, values_;
};

}  // namespace

MomentAccumulator::MomentAccumulator(int64_t layers, int64_t heads, int64_t head_dim, int64_t texts)
    : count_(at::zeros({layers, heads}, at::kDouble)),
      mean_(at::zeros({layers, heads, head_dim}, at::kDouble)),
      scatter_(at::zeros({layers, heads, head_dim, head_dim}, at::kDouble)),
      text_mean_(at::zeros({texts, layers, heads, head_dim}, at::kFloat)) {}

TextMoments moments_of_text(const at::Tensor& x_HTD) {
  const at::Tensor x = x_HTD.to(at::kFloat);
  const at::Tensor mean = x.mean(1, /*keepdim=*/true, at::kDouble);  // [h, 1, D]
  const at::Tensor centred = x - mean.to(at::kFloat);
  return {x_HTD.size(1), mean.squeeze(1).to(at::kCPU),
          at::bmm(centred.transpose(1, 2), centred).to(at::kCPU)};
}

void MomentAccumulator::add(int64_t layer, const std::vector<int64_t>& heads, int64_t text,
                            const TextMoments& moments) {
  const double n = static_cast<double>(moments.count);
  const at::Tensor scatter = moments.scatter.to(at::kDouble);
  const at::Tensor& text_mean = moments.mean;
  const Rows counts(count_, layer, heads), total_mean(mean_, layer, heads),
      total_scatter(scatter_, layer, heads), of_text(text_mean_.select(0, text), layer, heads);
  const at::Tensor count = counts.values().unsqueeze(-1).clone(), after = count.add(n);
  const at::Tensor shift = text_mean.sub(total_mean.values());
  total_scatter.values().add_(scatter).addcmul_(shift.mul(count.mul(n).div(after)).unsqueeze(2),
                                                shift.unsqueeze(1));
  total_mean.values().addcdiv_(shift, after, n);
  counts.values().add_(n);
  of_text.values().copy_(text_mean);
}

at::Tensor MomentAccumulator::covariance() const { return scatter_ / count_.unsqueeze(-1).unsqueeze(-1); }

}  // namespace ropescope
