#include "flexible_patch.h"

#include <algorithm>
#include <cmath>

#include <ATen/ops/linalg_pinv.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"

namespace ropescope::miniature {

namespace {

/// left X left^T of every square in the last two dimensions.
at::Tensor on_both_sides(const at::Tensor& left, const at::Tensor& squares) {
  return left.matmul(squares.to(at::kDouble)).matmul(left.t()).to(squares.scalar_type());
}

}  // namespace

at::Tensor resize_matrix(int64_t from, int64_t to) {
  at::Tensor matrix = at::zeros({to, from}, at::kDouble);
  auto* values = matrix.mutable_data_ptr<double>();
  for (int64_t o = 0; o < to; ++o) {
    const double place =
        (static_cast<double>(o) + 0.5) * static_cast<double>(from) / static_cast<double>(to) - 0.5;
    const double inside = std::clamp(place, 0.0, static_cast<double>(from - 1));
    const auto low = static_cast<int64_t>(inside);
    const int64_t high = std::min(low + 1, from - 1);
    const double share = inside - static_cast<double>(low);
    values[o * from + low] += 1 - share;
    values[o * from + high] += share;
  }
  return matrix;
}

at::Tensor patches_at_size(const at::Tensor& patches, int64_t channels, int64_t to) {
  const int64_t numbers = patches.size(1) / channels;
  const auto side = static_cast<int64_t>(std::lround(std::sqrt(static_cast<double>(numbers))));
  if (channels * side * side != patches.size(1)) {
    throw InternalError("patches_at_size: expected rows of {} square patches, found {} numbers", channels,
                        patches.size(1));
  }
  if (side == to) return patches;
  const at::Tensor back = at::linalg_pinv(resize_matrix(to, side));
  return on_both_sides(back, patches.view({-1, channels, side, side})).reshape({-1, channels * to * to});
}

}  // namespace ropescope::miniature
