// Matrix products and loops over rows for models whose matrices have some hundred rows and columns: one core, numbers that
// stay in its caches, no memory asked for. At such sizes the general libraries spend half of their time around the products.
// Matrices are float32, rows one after the other, `*_row` numbers apart; columns of results come in multiples of 16.
#pragma once

#include <cstdint>

namespace ropescope::miniature {

/// The left factor, whose element (i, k) lies at values[i row + k column]: a matrix or, with the steps exchanged, its transpose.
struct Left {
  const float* values;
  int64_t row, column;
};

/// c (+)= left b: left [m, k], b [k, n], c [m, n]; n a multiple of 16. `add`: to what c holds.
void multiply(Left left, const float* b, int64_t b_row, float* c, int64_t c_row, int64_t m, int64_t n,
              int64_t k, bool add);

/// to [columns, rows] = from [rows, columns] transposed.
void transpose(const float* from, int64_t from_row, int64_t rows, int64_t columns, float* to, int64_t to_row);

/// y = x s w with s = 1 / sqrt(mean(x^2) + eps), kept in `scale` [rows]; x and y [rows, width].
void norm_rows(const float* x, const float* weight, float* y, float* scale, int64_t rows, int64_t width,
               float eps);
/// dx += s (g - x s^2 mean(g x)), g = dy w;  dw += dy x s
void norm_rows_backward(const float* dy, const float* x, const float* weight, const float* scale, float* dx,
                        float* dw, int64_t rows, int64_t width);

/// Turns pairs (i, i + half) of the rows x [rows, 2 half] by cos and sin [rows, half], or back (the transpose).
void turn_rows(float* x, int64_t x_row, const float* cos, const float* sin, int64_t rows, int64_t half,
               bool back);

/// Softmax of scale x over the first `seen` numbers of a row; those up to the next multiple of 16 become 0.
void softmax_row(float* x, int64_t seen, float scale);
/// slope <- scale p (slope - sum(p slope)) over the first `seen` numbers; those up to the next multiple of 16 become 0.
void softmax_row_backward(const float* p, float* slope, int64_t seen, float scale);

/// out [rows, inner] = silu(gate) up; both [gate | up] rows [rows, 2 inner].
void gate_rows(const float* both, float* out, int64_t rows, int64_t inner);
/// Gradients [dgate | dup] of gate_rows, from dout [rows, inner].
void gate_rows_backward(const float* dout, const float* both, float* dboth, int64_t rows, int64_t inner);

}  // namespace ropescope::miniature
