// FoPE with its learned coefficients (arXiv 2412.17739): every channel turns by a mixture of all kept frequencies. Which
// are kept is the rope type "fope" (scaling/fope.cpp).
#pragma once

#include <ATen/core/Tensor.h>

#include "ropescope/rope/rotation.h"

namespace ropescope {

/// cos, sin: [kv_heads or 1, K, K], any float type; [head][frequency i][channel j], K kept frequencies, of the checkpoint's
/// `cos_coef` and `sin_coef`.
struct FopeCoefficients {
  at::Tensor cos, sin;
};

/// cos[head, token, j] = sum_i cos(p f_i) C[head, i, j], likewise sin; a channel beyond the K has cos 1, sin 0.
/// [kv_heads or 1, tokens, h] float64, times the attention factor. `position_ids`: [tokens]. `frequencies`: those that are
/// not 0 are kept and come first. Throws InputError for coefficients of another shape.
FopeCoefficients fope_sums(const at::Tensor& position_ids, const Frequencies& frequencies,
                           const FopeCoefficients& coefficients);

/// The same as a table for apply_rotary, [1, kv_heads or 1, tokens, h] float32.
RotaryTable make_rotary_table(const at::Tensor& position_ids, const Frequencies& frequencies,
                              const FopeCoefficients& coefficients,
                              PairLayout layout = PairLayout::kHalfSplit);

}  // namespace ropescope
