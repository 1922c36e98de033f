// Rotation of query/key channel pairs by position.
//   half-split pairing (Llama, Qwen):  pair (i, i + h);  adjacent pairing (GPT-J):  pair (2i, 2i + 1)
//   x'_a = x_a cos(phi) - x_b sin(phi),  x'_b = x_b cos(phi) + x_a sin(phi),
//   phi_i = f_i * sum_a w_ia position[a], for most encodings  f_i * position[axis(i)]
// (RoFormer, arXiv 2104.09864, section 3.2.2.)
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "ropescope/rope/frequencies.h"

namespace ropescope {

enum class PairLayout { kHalfSplit, kAdjacent };

/// cos, sin: [batch or 1, kv_heads or 1, tokens, rotary_dim/2] float32, attention_scale inside. Made once,
/// shared by all layers. Angles are computed in float64 (float32 angles lose 3e-3 at position 131,072).
struct RotaryTable {
  at::Tensor cos;
  at::Tensor sin;
  PairLayout layout = PairLayout::kHalfSplit;

  /// False of a layer that does not rotate: no table, and apply_rotary gives x itself.
  bool turns() const { return cos.defined(); }
  int64_t tokens() const { return cos.size(2); }
  RotaryTable to(at::Device device) const;
};

/// position_ids: [axes, batch or 1, tokens], any real numbers (float64 kept; integers widened); may repeat,
/// go back, be fractional or negative. A channel's rows must be < axes, or 1-D tables take row 0. The table
/// lies on the device of position_ids. Throws InputError for ids that are not finite.
RotaryTable make_rotary_table(const at::Tensor& position_ids, const Frequencies& frequencies,
                              PairLayout layout = PairLayout::kHalfSplit);

/// x: [batch, heads, tokens, head_dim], any float dtype; returns a new tensor of the same dtype. The first
/// 2 * table.cos.size(-1) channels rotate, the rest pass. `heads` is a multiple of the table's heads: head a
/// uses table head floor(a / (heads / table heads)). Differentiable in x. Computed in float32 for half types.
/// One pass over x on CPUs; the result keeps the order of heads and tokens that x has in memory.
at::Tensor apply_rotary(const at::Tensor& x, const RotaryTable& table);

}  // namespace ropescope
