#include "ropescope/rope/kernels/rotate.h"

#include <algorithm>
#include <type_traits>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/addcmul.h>
#include <ATen/ops/empty.h>

#include "ropescope/core/device_branch.h"

namespace ropescope::kernels {

namespace {

// Same order of heads and tokens in memory as x, channels together: attention kernels then read both q and k
// with the strides that the projections gave them.
at::Tensor empty_like_x(const at::Tensor& x) {
  const int64_t batch = x.size(0), heads = x.size(1), tokens = x.size(2), dim = x.size(3);
  if (x.stride(1) < x.stride(2)) return at::empty({batch, tokens, heads, dim}, x.options()).transpose(1, 2);
  return at::empty({batch, heads, tokens, dim}, x.options());
}

// `step` is the distance of the two channels of a pair, `stride` that of neighbouring pairs.
template <typename T, typename Compute>
inline void rotate_half(const T* __restrict x, const float* __restrict cos, const float* __restrict sin,
                        Compute sign, T* __restrict out, int64_t half) {
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const Compute a = static_cast<Compute>(x[i]), b = static_cast<Compute>(x[i + half]);
    const Compute c = static_cast<Compute>(cos[i]), s = sign * static_cast<Compute>(sin[i]);
    out[i] = static_cast<T>(a * c - b * s);
    out[i + half] = static_cast<T>(b * c + a * s);
  }
}

template <typename T, typename Compute>
inline void rotate_adjacent(const T* __restrict x, const float* __restrict cos, const float* __restrict sin,
                            Compute sign, T* __restrict out, int64_t half) {
  for (int64_t i = 0; i < half; ++i) {
    const Compute a = static_cast<Compute>(x[2 * i]), b = static_cast<Compute>(x[2 * i + 1]);
    const Compute c = static_cast<Compute>(cos[i]), s = sign * static_cast<Compute>(sin[i]);
    out[2 * i] = static_cast<T>(a * c - b * s);
    out[2 * i + 1] = static_cast<T>(b * c + a * s);
  }
}

template <typename T>
void rotate_cpu(const at::Tensor& x, const RotaryTable& table, bool inverse, at::Tensor& out) {
  using Compute = std::conditional_t<std::is_same_v<T, double>, double, float>;
  const at::Tensor cos = table.cos.contiguous(), sin = table.sin.contiguous();
  const int64_t heads = x.size(1), tokens = x.size(2), dim = x.size(3);
  const int64_t table_heads = cos.size(1), half = cos.size(3), group = heads / table_heads;
  const int64_t table_batch = cos.size(0) == 1 ? 0 : table_heads * tokens * half;
  const auto* cos_data = cos.const_data_ptr<float>();
  const auto* sin_data = sin.const_data_ptr<float>();
  const auto* in_data = x.const_data_ptr<T>();
  auto* out_data = out.mutable_data_ptr<T>();
  const auto in_strides = x.strides(), out_strides = out.strides();
  const Compute sign = inverse ? -1 : 1;
  const bool adjacent = table.layout == PairLayout::kAdjacent;
  const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, heads * dim));
  at::parallel_for(0, x.size(0) * tokens, grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t b = row / tokens, t = row % tokens;
      for (int64_t h = 0; h < heads; ++h) {
        const T* source = in_data + b * in_strides[0] + h * in_strides[1] + t * in_strides[2];
        T* target = out_data + b * out_strides[0] + h * out_strides[1] + t * out_strides[2];
        const int64_t angle = b * table_batch + (h / group * tokens + t) * half;
        if (adjacent) {
          rotate_adjacent<T, Compute>(source, cos_data + angle, sin_data + angle, sign, target, half);
        } else {
          rotate_half<T, Compute>(source, cos_data + angle, sin_data + angle, sign, target, half);
        }
        std::copy(source + 2 * half, source + dim, target + 2 * half);
      }
    }
  });
}

// Devices without a kernel of ours.
void rotate_aten(const at::Tensor& x, const RotaryTable& table, bool inverse, at::Tensor& out) {
  const int64_t half = table.cos.size(3), heads = x.size(1), table_heads = table.cos.size(1);
  const bool narrow_type = x.scalar_type() == at::kBFloat16 || x.scalar_type() == at::kHalf;
  const auto compute = narrow_type ? at::kFloat : x.scalar_type();
  const auto grouped = [&](const at::Tensor& y) {
    return y.unflatten(1, {table_heads, heads / table_heads});
  };
  const at::Tensor cos = table.cos.to(compute).unsqueeze(2), sin = table.sin.to(compute).unsqueeze(2);
  const at::Tensor in = grouped(x), to = grouped(out);
  const bool adjacent = table.layout == PairLayout::kAdjacent;
  const auto part = [&](const at::Tensor& y, int64_t which) {
    return adjacent ? y.slice(-1, which, 2 * half, 2) : y.narrow(-1, which * half, half);
  };
  const at::Tensor a = part(in, 0).to(compute), b = part(in, 1).to(compute);
  const double sign = inverse ? -1 : 1;
  part(to, 0).copy_(at::addcmul(a.mul(cos), b, sin, -sign));
  part(to, 1).copy_(at::addcmul(b.mul(cos), a, sin, sign));
  const int64_t rest = x.size(3) - 2 * half;
  if (rest > 0) out.narrow(-1, 2 * half, rest).copy_(x.narrow(-1, 2 * half, rest));
}

}  // namespace

at::Tensor rotate(const at::Tensor& x, const RotaryTable& table, bool inverse) {
  const at::NoGradGuard no_grad;
  at::Tensor out = empty_like_x(x);
  if (!own_cpu_kernels(x)) {
    rotate_aten(x, table, inverse, out);
    return out;
  }
  const at::Tensor dense = x.stride(3) == 1 ? x : x.contiguous();
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, x.scalar_type(), "rotate",
                                  [&] { rotate_cpu<scalar_t>(dense, table, inverse, out); });
  return out;
}

}  // namespace ropescope::kernels
