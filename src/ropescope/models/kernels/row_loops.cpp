#include "ropescope/models/kernels/row_loops.h"

#include <algorithm>
#include <cmath>

#include "ropescope/core/vector_exp.h"
#include "ropescope/core/vector_units.h"

namespace ropescope::kernels {

namespace {

// Float sums run over this many numbers at most, then go on in double: longer ones lose digits.
constexpr int64_t kFloatSum = 512;

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
  const float highest = highest_exponent();
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) out[i] = gate[i] / (1.0f + exp_of(-gate[i], highest)) * up[i];
}

// (No restrict: gradients may go where the values are.)
ROPESCOPE_VECTOR_UNITS void swiglu_backward(const float* dout, const float* gate, const float* up,
                                            float* dgate, float* dup, int64_t count) {
  const float highest = highest_exponent();
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float g = gate[i], outer = dout[i], open = 1.0f / (1.0f + exp_of(-g, highest));
    const float slope = outer * up[i] * open * (1.0f + g * (1.0f - open));
    dup[i] = outer * g * open;
    dgate[i] = slope;
  }
}

ROPESCOPE_VECTOR_UNITS double softmax_slope(float* logits, int64_t count, int64_t target, float factor) {
  const float top = largest(logits, count), wanted = logits[target], highest = highest_exponent();
  double sum = 0;
  for (int64_t begin = 0; begin < count; begin += kFloatSum) {
    const int64_t end = std::min(count, begin + kFloatSum);
    float part = 0;
#pragma omp simd reduction(+ : part)
    for (int64_t i = begin; i < end; ++i) {
      logits[i] = exp_of(logits[i] - top, highest);
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
