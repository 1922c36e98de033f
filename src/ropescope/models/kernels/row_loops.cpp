#include "ropescope/models/kernels/row_loops.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "ropescope/core/vector_units.h"

namespace ropescope::kernels {

namespace {

// Float sums run over this many numbers at most, then go on in double: longer ones lose digits.
constexpr int64_t kFloatSum = 512;

// exp to 1e-7 (relative), from 2^n and a polynomial on [-ln 2 / 2, ln 2 / 2]; flushed to about 1e-38 below
// -87, held at 1e38 above 88. NaN stays NaN. Source: Cephes, expf.
ROPESCOPE_INLINE float exp_of(float x) {
  constexpr float kLowest = -87.0f, kHighest = 88.0f, kPerTurn = 1.44269504f;
  constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: rounds to the nearest integer
  x = x < kLowest ? kLowest : x;
  x = x > kHighest ? kHighest : x;
  const float n = (x * kPerTurn + kRound) - kRound;
  const float r = (x - n * kLn2High) - n * kLn2Low;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  return p * std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
}

ROPESCOPE_INLINE float largest(const float* x, int64_t count) {
  constexpr int64_t kLanes = 32;
  float top = x[0];
  int64_t i = 0;
  if (count >= kLanes) {
    float lanes[kLanes];
    for (int64_t j = 0; j < kLanes; ++j) lanes[j] = x[j];
    for (i = kLanes; i + kLanes <= count; i += kLanes) {
#pragma omp simd
      for (int64_t j = 0; j < kLanes; ++j) lanes[j] = x[i + j] > lanes[j] ? x[i + j] : lanes[j];
    }
    for (int64_t j = 0; j < kLanes; ++j) top = lanes[j] > top ? lanes[j] : top;
  }
  for (; i < count; ++i) top = x[i] > top ? x[i] : top;
  return top;
}

}  // namespace

ROPESCOPE_VECTOR_UNITS void rms_norm_rows(const float* x, const float* weight, float* y, float* scale,
                                          int64_t rows, int64_t width, double eps) {
  for (int64_t row = 0; row < rows; ++row) {
    const float* __restrict source = x + row * width;
    float* __restrict target = y + row * width;
    double sum = 0;  // a float sum is off by 1e-6, for a whole row at once
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < width; ++i) sum += static_cast<double>(source[i]) * source[i];
    const auto s = static_cast<float>(1.0 / std::sqrt(sum / static_cast<double>(width) + eps));
    scale[row] = s;
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) target[i] = source[i] * s * weight[i];
  }
}

ROPESCOPE_VECTOR_UNITS void rms_norm_rows_backward(const float* dy, const float* x, const float* weight,
                                                   const float* scale, float* dx, float* dw, int64_t rows,
                                                   int64_t width) {
  for (int64_t row = 0; row < rows; ++row) {
    const float* __restrict outer = dy + row * width;
    const float* __restrict source = x + row * width;
    const float s = scale[row];
    if (dw != nullptr) {
      float* __restrict slope = dw;
#pragma omp simd
      for (int64_t i = 0; i < width; ++i) slope[i] += outer[i] * source[i] * s;
    }
    if (dx == nullptr) continue;
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < width; ++i) sum += static_cast<double>(outer[i] * weight[i]) * source[i];
    const double wide = s;
    const auto back = static_cast<float>(wide * wide * wide * sum / static_cast<double>(width));
    float* __restrict target = dx + row * width;
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) target[i] = outer[i] * weight[i] * s - source[i] * back;
  }
}

ROPESCOPE_VECTOR_UNITS void swiglu(const float* gate, const float* up, float* __restrict out, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) out[i] = gate[i] / (1.0f + exp_of(-gate[i])) * up[i];
}

// (No restrict: gradients may go where the values are.)
ROPESCOPE_VECTOR_UNITS void swiglu_backward(const float* dout, const float* gate, const float* up,
                                            float* dgate, float* dup, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float g = gate[i], outer = dout[i], open = 1.0f / (1.0f + exp_of(-g));
    const float slope = outer * up[i] * open * (1.0f + g * (1.0f - open));
    dup[i] = outer * g * open;
    dgate[i] = slope;
  }
}

ROPESCOPE_VECTOR_UNITS double softmax_slope(float* logits, int64_t count, int64_t target, float factor) {
  const float top = largest(logits, count), wanted = logits[target];
  double sum = 0;
  for (int64_t begin = 0; begin < count; begin += kFloatSum) {
    const int64_t end = std::min(count, begin + kFloatSum);
    float part = 0;
#pragma omp simd reduction(+ : part)
    for (int64_t i = begin; i < end; ++i) {
      logits[i] = exp_of(logits[i] - top);
      part += logits[i];
    }
    sum += part;
  }
  const auto share = static_cast<float>(factor / sum);
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) logits[i] *= share;
  logits[target] -= factor;
  return static_cast<double>(top) + std::log(sum) - static_cast<double>(wanted);
}

}  // namespace ropescope::kernels
