#include "small_products.h"

#include <cmath>

#include "ropescope/core/vector_exp.h"
#include "ropescope/core/vector_units.h"

// Compiled for three kinds of machines; the loader picks.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define MINIATURE_VECTOR_UNITS __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define MINIATURE_VECTOR_UNITS
#endif

namespace ropescope::miniature {

namespace {

// Sixteen and eight numbers that are added and multiplied at once, at any address.
using Wide = float __attribute__((vector_size(64), aligned(4), may_alias));
using Narrow = float __attribute__((vector_size(32), aligned(4), may_alias));

bool has_wide_units() {
#if defined(__x86_64__) && defined(__GNUC__)
  static const bool has = __builtin_cpu_supports("avx512f") != 0;
  return has;
#else
  return false;
#endif
}

// R rows and W vectors of c, held in registers over the whole sum.
template <typename Vector, int R, int W>
ROPESCOPE_INLINE void tile(Left left, const float* b, int64_t b_row, float* c, int64_t c_row, int64_t k,
                           bool add) {
  constexpr int64_t kLanes = sizeof(Vector) / sizeof(float);
  Vector sum[R][W];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int w = 0; w < W; ++w) {
      sum[r][w] = add ? *reinterpret_cast<const Vector*>(c + r * c_row + w * kLanes) : Vector{};
    }
  }
  for (int64_t i = 0; i < k; ++i) {
    Vector right[W];
#pragma GCC unroll 4
    for (int w = 0; w < W; ++w) right[w] = *reinterpret_cast<const Vector*>(b + w * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const float one = left.values[r * left.row];
#pragma GCC unroll 4
      for (int w = 0; w < W; ++w) sum[r][w] += one * right[w];
    }
    left.values += left.column;
    b += b_row;
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int w = 0; w < W; ++w) *reinterpret_cast<Vector*>(c + r * c_row + w * kLanes) = sum[r][w];
  }
}

// All rows of W vectors of columns.
template <typename Vector, int R, int W>
ROPESCOPE_INLINE void strip(Left left, const float* b, int64_t b_row, float* c, int64_t c_row, int64_t m,
                            int64_t k, bool add) {
  const auto go = [&](int64_t rows) {
    left.values += rows * left.row;
    c += rows * c_row;
    m -= rows;
  };
  for (; m >= R; go(R)) tile<Vector, R, W>(left, b, b_row, c, c_row, k, add);
  if constexpr (R > 4) {
    for (; m >= 4; go(4)) tile<Vector, 4, W>(left, b, b_row, c, c_row, k, add);
  }
  if (m >= 2) {
    tile<Vector, 2, W>(left, b, b_row, c, c_row, k, add);
    go(2);
  }
  if (m >= 1) tile<Vector, 1, W>(left, b, b_row, c, c_row, k, add);
}

template <typename Vector, int R>
ROPESCOPE_INLINE void strips(Left left, const float* b, int64_t b_row, float* c, int64_t c_row, int64_t m,
                             int64_t n, int64_t k, bool add) {
  constexpr int64_t kLanes = sizeof(Vector) / sizeof(float);
  int64_t j = 0;
  for (; j + 3 * kLanes <= n; j += 3 * kLanes)
    strip<Vector, R, 3>(left, b + j, b_row, c + j, c_row, m, k, add);
  if (j + 2 * kLanes <= n) {
    strip<Vector, R, 2>(left, b + j, b_row, c + j, c_row, m, k, add);
    j += 2 * kLanes;
  }
  if (j < n) strip<Vector, R, 1>(left, b + j, b_row, c + j, c_row, m, k, add);
}

// Eight rows of eight numbers: neighbours are exchanged at distances of one, two and four.
ROPESCOPE_INLINE void transpose_block(const float* from, int64_t from_row, float* to, int64_t to_row) {
  Narrow a[8], b[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) a[i] = *reinterpret_cast<const Narrow*>(from + i * from_row);
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    b[i] = __builtin_shufflevector(a[i], a[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
    b[i + 1] = __builtin_shufflevector(a[i], a[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    if ((i & 2) != 0) continue;
    a[i] = __builtin_shufflevector(b[i], b[i + 2], 0, 1, 8, 9, 4, 5, 12, 13);
    a[i + 2] = __builtin_shufflevector(b[i], b[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    *reinterpret_cast<Narrow*>(to + i * to_row) =
        __builtin_shufflevector(a[i], a[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    *reinterpret_cast<Narrow*>(to + (i + 4) * to_row) =
        __builtin_shufflevector(a[i], a[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}

int64_t whole_vectors(int64_t count) { return (count + 15) / 16 * 16; }

}  // namespace

MINIATURE_VECTOR_UNITS void multiply(Left left, const float* b, int64_t b_row, float* c, int64_t c_row,
                                     int64_t m, int64_t n, int64_t k, bool add) {
  // As many sums as the machine has registers for.
  if (has_wide_units()) {
    strips<Wide, 8>(left, b, b_row, c, c_row, m, n, k, add);
  } else {
    strips<Narrow, 4>(left, b, b_row, c, c_row, m, n, k, add);
  }
}

MINIATURE_VECTOR_UNITS void transpose(const float* from, int64_t from_row, int64_t rows, int64_t columns,
                                      float* to, int64_t to_row) {
  constexpr int64_t kBlock = 8;
  int64_t row = 0;
  for (; row + kBlock <= rows; row += kBlock) {
    int64_t column = 0;
    for (; column + kBlock <= columns; column += kBlock) {
      transpose_block(from + row * from_row + column, from_row, to + column * to_row + row, to_row);
    }
    for (; column < columns; ++column) {
      for (int64_t i = 0; i < kBlock; ++i)
        to[column * to_row + row + i] = from[(row + i) * from_row + column];
    }
  }
  for (; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column)
      to[column * to_row + row] = from[row * from_row + column];
  }
}

MINIATURE_VECTOR_UNITS void norm_rows(const float* x, const float* weight, float* y, float* scale,
                                      int64_t rows, int64_t width, float eps) {
  for (int64_t row = 0; row < rows; ++row) {
    const float* __restrict source = x + row * width;
    float* __restrict target = y + row * width;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < width; ++i) sum += source[i] * source[i];
    const float s = 1.0f / std::sqrt(sum / static_cast<float>(width) + eps);
    scale[row] = s;
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) target[i] = source[i] * s * weight[i];
  }
}

MINIATURE_VECTOR_UNITS void norm_rows_backward(const float* dy, const float* x, const float* weight,
                                               const float* scale, float* dx, float* dw, int64_t rows,
                                               int64_t width) {
  for (int64_t row = 0; row < rows; ++row) {
    const float* __restrict outer = dy + row * width;
    const float* __restrict source = x + row * width;
    float* __restrict target = dx + row * width;
    float* __restrict slope = dw;
    const float s = scale[row];
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < width; ++i) {
      slope[i] += outer[i] * source[i] * s;
      sum += outer[i] * weight[i] * source[i];
    }
    const float back = s * s * s * sum / static_cast<float>(width);
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) target[i] += outer[i] * weight[i] * s - source[i] * back;
  }
}

MINIATURE_VECTOR_UNITS void turn_rows(float* x, int64_t x_row, const float* cos, const float* sin,
                                      int64_t rows, int64_t half, bool back) {
  const float sign = back ? -1.0f : 1.0f;
  for (int64_t row = 0; row < rows; ++row) {
    float* __restrict first = x + row * x_row;
    float* __restrict second = first + half;
    const float* c = cos + row * half;
    const float* s = sin + row * half;
#pragma omp simd
    for (int64_t i = 0; i < half; ++i) {
      const float a = first[i], b = second[i], turned = sign * s[i];
      first[i] = a * c[i] - b * turned;
      second[i] = b * c[i] + a * turned;
    }
  }
}

// (Loops go over whole vectors: what comes after the numbers that are seen is made harmless first.)
MINIATURE_VECTOR_UNITS void softmax_row(float* x, int64_t seen, float scale) {
  const float highest = highest_exponent();
  const int64_t whole = whole_vectors(seen);
  for (int64_t i = seen; i < whole; ++i) x[i] = -1e30f;
  float top = x[0];
#pragma omp simd reduction(max : top)
  for (int64_t i = 0; i < whole; ++i) top = x[i] > top ? x[i] : top;
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < whole; ++i) {
    x[i] = exp_of(scale * (x[i] - top), highest);
    sum += x[i];
  }
  const float share = 1.0f / sum;
  for (int64_t i = seen; i < whole; ++i) x[i] = 0;
#pragma omp simd
  for (int64_t i = 0; i < whole; ++i) x[i] *= share;
}

MINIATURE_VECTOR_UNITS void softmax_row_backward(const float* p, float* slope, int64_t seen, float scale) {
  const int64_t whole = whole_vectors(seen);  // p is 0 after what is seen
  float mean = 0;
#pragma omp simd reduction(+ : mean)
  for (int64_t i = 0; i < whole; ++i) mean += p[i] * slope[i];
#pragma omp simd
  for (int64_t i = 0; i < whole; ++i) slope[i] = scale * p[i] * (slope[i] - mean);
}

MINIATURE_VECTOR_UNITS void gate_rows(const float* both, float* out, int64_t rows, int64_t inner) {
  const float highest = highest_exponent();
  for (int64_t row = 0; row < rows; ++row) {
    const float* gate = both + row * 2 * inner;
    const float* up = gate + inner;
    float* __restrict target = out + row * inner;
#pragma omp simd
    for (int64_t i = 0; i < inner; ++i) target[i] = gate[i] / (1.0f + exp_of(-gate[i], highest)) * up[i];
  }
}

MINIATURE_VECTOR_UNITS void gate_rows_backward(const float* dout, const float* both, float* dboth,
                                               int64_t rows, int64_t inner) {
  const float highest = highest_exponent();
  for (int64_t row = 0; row < rows; ++row) {
    const float* outer = dout + row * inner;
    const float* gate = both + row * 2 * inner;
    const float* up = gate + inner;
    float* __restrict dgate = dboth + row * 2 * inner;
    float* __restrict dup = dgate + inner;
#pragma omp simd
    for (int64_t i = 0; i < inner; ++i) {
      const float g = gate[i], open = 1.0f / (1.0f + exp_of(-g, highest));
      dup[i] = outer[i] * g * open;
      dgate[i] = outer[i] * up[i] * open * (1.0f + g * (1.0f - open));
    }
  }
}

}  // namespace ropescope::miniature
