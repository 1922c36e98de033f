// PoPE, polar coordinate position embedding (arXiv 2509.10534), as a form of the decay curve. Queries and keys say only
// how strongly each channel speaks, and positions alone how it turns:
//   E(m) = sum_c softplus(q_c) softplus(k_c) cos(m f_c - delta_c),   f_c = theta^(-c/D), c = 0..D-1
// m = query position - key position; delta in [-2 pi, 0] is a learned phase of the key. That is the rotary product of
// vectors of 2 D channels, in halves,
//   q' = (softplus(q), 0),   k' = (softplus(k) cos(delta), softplus(k) sin(delta)),
// whose frequencies theta^(-2c/(2D)) are the plain rotary ones. So everything that is made of samples serves PoPE too.
// Notation  L layers, H query heads, K key/value heads, D channels of a head
#pragma once

#include <ATen/core/Tensor.h>

#include "ropescope/probe/samples.h"

namespace ropescope {

/// The phases delta of a PoPE model.
struct PopeBias {
  /// float64 or float32: one number, [D], [H or K, D] or [L, H or K, D]; undefined: 0.
  at::Tensor delta;
};

/// Pairs whose q and k are those of PoPE, [N, 2D] float64, of a model whose layers that rotate take its frequencies under
/// their own bases; context scaling, partial rotation and the pairing of channels are RoPE's and fall away. Phases
/// outside of [-2 pi, 0] are moved to its ends, as the public code does. Throws UsageError where there are no pairs
/// (softplus of a mean is not the mean of softplus) and for phases of another shape.
Samples pope_samples(const Samples& samples, const PopeBias& bias);

}  // namespace ropescope
