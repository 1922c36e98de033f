#include "ropescope/models/blocks/expert_formats.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include <fmt/ranges.h>

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include "ropescope/core/errors.h"
#include "ropescope/weights/stored_tensor.h"

namespace ropescope {

namespace {

constexpr int64_t kBytesOfBlock = 16;  // MXFP4: two numbers a byte, one scale a block
constexpr int64_t kBlocksOfThread = 512;
constexpr int64_t kScaledBlock = 128;  // FP8: rows and columns of a scale

// 4-bit floats: sign, two bits of exponent, one of mantissa.
constexpr std::array<double, 16> kFp4 = {0.0,  0.5,  1.0,  1.5,  2.0,  3.0,  4.0,  6.0,
                                         -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0};

// All numbers that there are, by scale.
template <typename Number>
using Fp4Table = std::array<std::array<Number, 16>, 256>;

template <typename Number>
const Fp4Table<Number>& fp4_numbers() {
  static const Fp4Table<Number> table = [] {
    Fp4Table<Number> made;
    for (size_t scale = 0; scale < made.size(); ++scale) {
      for (size_t code = 0; code < kFp4.size(); ++code) {
        made[scale][code] = static_cast<Number>(std::ldexp(kFp4[code], static_cast<int>(scale) - 127));
      }
    }
    return made;
  }();
  return table;
}

template <typename Number>
void widen_blocks(const at::Tensor& blocks, const at::Tensor& scales, const at::Tensor& target) {
  const auto* bytes = blocks.const_data_ptr<uint8_t>();
  const auto* exponents = scales.const_data_ptr<uint8_t>();
  auto* numbers = target.mutable_data_ptr<Number>();
  const auto& table = fp4_numbers<Number>();
  at::parallel_for(0, scales.numel(), kBlocksOfThread, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const std::array<Number, 16>& of = table[exponents[b]];
      const uint8_t* from = bytes + b * kBytesOfBlock;
      Number* to = numbers + b * 2 * kBytesOfBlock;
      for (int64_t i = 0; i < kBytesOfBlock; ++i) {
        to[2 * i] = of[from[i] & 15];
        to[2 * i + 1] = of[from[i] >> 4];
      }
    }
  });
}

// Numbers that share a scale along a dimension; 0 where there is no such number.
int64_t block_of(int64_t size, int64_t scales) {
  if (scales == (size + kScaledBlock - 1) / kScaledBlock) return kScaledBlock;
  return scales > 0 && size % scales == 0 ? size / scales : 0;
}

}  // namespace

at::Tensor widen_mxfp4(const at::Tensor& blocks, const at::Tensor& scales, at::ScalarType dtype) {
  if (blocks.dim() < 2 || blocks.size(-1) != kBytesOfBlock ||
      blocks.sizes().slice(0, static_cast<size_t>(blocks.dim() - 1)) != scales.sizes()) {
    throw InternalError("widen_mxfp4: expected blocks of 16 bytes with a scale each, found [{}] and [{}]",
                        fmt::join(blocks.sizes(), ", "), fmt::join(scales.sizes(), ", "));
  }
  std::vector<int64_t> shape(scales.sizes().begin(), scales.sizes().end());
  shape.back() *= 2 * kBytesOfBlock;
  const at::Tensor bytes = blocks.contiguous(), exponents = scales.contiguous();
  const auto widened = [&]<typename Number>(Number, at::ScalarType type) {
    const at::Tensor wide = at::empty(shape, type);
    widen_blocks<Number>(bytes, exponents, wide);
    return wide;
  };
  if (dtype == at::kHalf) return widened(at::Half(), dtype);
  if (dtype == at::kBFloat16) return widened(at::BFloat16(), dtype);
  if (dtype == at::kDouble) return widened(double(), dtype);
  return widened(float(), at::kFloat).to(dtype);
}

at::Tensor widen_scaled_blocks(const at::Tensor& weight, const at::Tensor& scales, at::ScalarType dtype,
                               const std::string& what) {
  const bool matrices = weight.dim() == 2 && scales.dim() == 2;
  const int64_t rows = matrices ? block_of(weight.size(0), scales.size(0)) : 0;
  const int64_t columns = matrices ? block_of(weight.size(1), scales.size(1)) : 0;
  if (rows == 0 || columns == 0) {
    throw InputError("{}: expected one scale for {} x {} numbers, found [{}] for [{}]", what, kScaledBlock,
                     kScaledBlock, fmt::join(scales.sizes(), ", "), fmt::join(weight.sizes(), ", "));
  }
  const int64_t width = weight.size(1);
  const at::Tensor factors = scales.to(at::kFloat).repeat_interleave(columns, 1).narrow(1, 0, width);
  at::Tensor wide = at::empty(weight.sizes(), weight.options().dtype(dtype));
  // One row of blocks at a time: the float32 matrix never exists as a whole.
  for (int64_t i = 0; i < scales.size(0); ++i) {
    const int64_t first = i * rows, count = std::min(rows, weight.size(0) - first);
    wide.narrow(0, first, count).copy_(weight.narrow(0, first, count).to(at::kFloat).mul_(factors[i]));
  }
  return wide;
}

at::Tensor take_scaled(const Checkpoint& checkpoint, const std::string& name, at::ScalarType dtype) {
  const std::string scale_name = name + "_scale_inv";
  const TensorInfo* scale = checkpoint.find(scale_name);
  const TensorInfo* weight = checkpoint.find(name);
  if (scale == nullptr || weight == nullptr) return checkpoint.take(name, dtype);
  if (scale->dtype[0] != 'F' && scale->dtype[0] != 'B') {
    throw InputError("{}: tensor \"{}\": expected scales as floating-point numbers, found {}", scale->file,
                     scale_name, scale->dtype);
  }
  const StoredType* stored = find_stored_type(weight->dtype);
  const at::ScalarType type = stored != nullptr && stored->type ? *stored->type : at::kFloat;
  return widen_scaled_blocks(checkpoint.take(name, type), checkpoint.take(scale_name, at::kFloat), dtype,
                             weight->file + ": tensor \"" + scale_name + "\"");
}

}  // namespace ropescope
