// Loops over rows of float32 on a CPU, one pass over memory where ATen makes several. Compiled for the
// vector units that the machine has. Rows are [rows, width], one after the other.
#pragma once

#include <cstdint>

namespace ropescope::kernels {

/// y = x * scale * w with scale = 1 / sqrt(mean(x^2) + eps), which is written to `scale` [rows].
void rms_norm_rows(const float* x, const float* weight, float* y, float* scale, int64_t rows, int64_t width,
                   double eps);

/// Gradients of rms_norm_rows:
///   dx = s (g - x s^2 mean(g x)),  g = dy w,      dw += sum over the rows of dy x s
/// `dx` may be null; `dw` [width] may be null.
void rms_norm_rows_backward(const float* dy, const float* x, const float* weight, const float* scale,
                            float* dx, float* dw, int64_t rows, int64_t width);

/// out = silu(gate) up
void swiglu(const float* gate, const float* up, float* out, int64_t count);

/// Gradients of swiglu. `dgate` and `dup` may be the same memory as `gate` and `up`.
void swiglu_backward(const float* dout, const float* gate, const float* up, float* dgate, float* dup,
                     int64_t count);

/// -log softmax(logits)[target], for one row; `logits` become the slope (softmax(logits) - [target]) factor
/// of that loss times `factor`. Not finite if a logit is not.
double softmax_slope(float* logits, int64_t count, int64_t target, float factor);

}  // namespace ropescope::kernels
