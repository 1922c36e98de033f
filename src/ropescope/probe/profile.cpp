#include "ropescope/probe/profile.h"

#include <algorithm>
#include <limits>

#include <ATen/ops/arange.h>
#include <ATen/ops/complex.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/fft_fft.h>
#include <ATen/ops/fft_ifft.h>
#include <ATen/ops/real.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/tensor_operators.h"

namespace ropescope {

namespace {

constexpr int64_t kWorkingBytes = int64_t{64} << 20;  // of one padded transform; a few of them live at once

/// Smallest 2^a 3^b 5^c >= n: transforms of such lengths are fast.
int64_t fast_length(int64_t n) {
  int64_t best = 1;
  while (best < n) best *= 2;
  for (int64_t five = 1; five < best; five *= 5) {
    for (int64_t three = five; three < best; three *= 3) {
      int64_t length = three;
      while (length < n) length *= 2;
      best = std::min(best, length);
    }
  }
  return best;
}

/// [..., n, D] -> complex128 [..., D/2, n], time last and contiguous.
at::Tensor complex_channels(const at::Tensor& x) {
  const at::Tensor by_channel = x.to(at::kDouble).transpose(-1, -2).contiguous();
  const int64_t half = by_channel.size(-2) / 2;
  return at::complex(by_channel.narrow(-2, 0, half), by_channel.narrow(-2, half, half));
}

}  // namespace

at::Tensor lagged_inner_products(const at::Tensor& q_HTD, const at::Tensor& k_KTD) {
  const int64_t kv_heads = k_KTD.size(0);
  const int64_t n = k_KTD.size(1);
  const int64_t half = k_KTD.size(2) / 2;
  if (q_HTD.dim() != 3 || k_KTD.dim() != 3 || q_HTD.size(1) != n || q_HTD.size(2) != 2 * half ||
      k_KTD.size(2) != 2 * half || n == 0 || q_HTD.size(0) % kv_heads != 0) {
    throw InternalError("lagged_inner_products: q and k do not fit together");
  }
  const int64_t group = q_HTD.size(0) / kv_heads;
  const int64_t length = fast_length(2 * n - 1);
  const int64_t channel_bytes = (group + 1) * length * 16;
  const int64_t channels = std::clamp<int64_t>(kWorkingBytes / channel_bytes, 1, half);
  const int64_t block = std::clamp<int64_t>(kWorkingBytes / (channel_bytes * half), 1, kv_heads);
  at::Tensor sums = at::empty({q_HTD.size(0), n}, at::kDouble);
  for (int64_t head = 0; head < kv_heads; head += block) {
    const int64_t heads = std::min(block, kv_heads - head);
    const at::Tensor k = complex_channels(k_KTD.narrow(0, head, heads)).unsqueeze(1);
    const at::Tensor q =
        complex_channels(q_HTD.narrow(0, head * group, heads * group)).view({heads, group, half, n});
    at::Tensor spectrum;  // [heads, group, length]
    for (int64_t c = 0; c < half; c += channels) {
      const int64_t width = std::min(channels, half - c);
      const at::Tensor q_spectrum = at::fft_fft(q.narrow(2, c, width), length);
      const at::Tensor k_spectrum = at::fft_fft(k.narrow(2, c, width), length);
      const at::Tensor part = (q_spectrum * k_spectrum.conj()).sum(2);
      spectrum = spectrum.defined() ? spectrum + part : part;
    }
    sums.narrow(0, head * group, heads * group)
        .copy_(at::real(at::fft_ifft(spectrum)).narrow(-1, 0, n).reshape({heads * group, n}));
  }
  return sums;
}

ProfileAccumulator::ProfileAccumulator(int64_t layers, int64_t heads, int64_t longest)
    : count_(at::zeros({longest}, at::kDouble)),
      count_squared_(at::zeros({longest}, at::kDouble)),
      texts_(at::zeros({longest}, at::kDouble)),
      sum_(at::zeros({layers, heads, longest}, at::kDouble)),
      sum_squared_(at::zeros({layers, heads, longest}, at::kDouble)),
      cross_(at::zeros({layers, heads, longest}, at::kDouble)),
      measured_(at::zeros({layers, heads}, at::kBool)) {}

void ProfileAccumulator::add_text(int64_t tokens) {
  const at::Tensor pairs = tokens - at::arange(tokens, at::kDouble);
  count_.narrow(0, 0, tokens).add_(pairs);
  count_squared_.narrow(0, 0, tokens).add_(pairs * pairs);
  texts_.narrow(0, 0, tokens).add_(1.0);
}

void ProfileAccumulator::add_sums(int64_t layer, const std::vector<int64_t>& heads, const at::Tensor& sums) {
  const int64_t tokens = sums.size(1);
  const at::Tensor pairs = tokens - at::arange(tokens, at::kDouble);
  for (size_t i = 0; i < heads.size(); ++i) {
    const at::Tensor row = sums.select(0, static_cast<int64_t>(i));
    const auto place = [&](const at::Tensor& of) {
      return of.select(0, layer).select(0, heads[i]).narrow(0, 0, tokens);
    };
    place(sum_).add_(row);
    place(sum_squared_).addcmul_(row, row);
    place(cross_).addcmul_(row, pairs);
    measured_.select(0, layer).select(0, heads[i]).fill_(true);
  }
}

ProfileSet ProfileAccumulator::result() const {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  ProfileSet profile;
  profile.distance = at::arange(count_.size(0), at::kLong);
  profile.count = count_.to(at::kLong);
  const at::Tensor unmeasured = measured_.logical_not().unsqueeze(-1);
  profile.mean = (sum_ / count_).masked_fill(unmeasured, kNan);
  const at::Tensor squares =
      sum_squared_ - 2.0 * profile.mean * cross_ + profile.mean * profile.mean * count_squared_;
  const at::Tensor variance = squares.clamp_min(0.0) * (texts_ / (texts_ - 1.0)) / (count_ * count_);
  profile.standard_error = variance.sqrt().masked_fill(texts_ < 1.5, kNan);
  return profile;
}

}  // namespace ropescope
