// One tower at several patch sizes (FlexiViT, arXiv 2212.08013, section 3.4): the kernel of its patch embedding is resized so that
// a patch and the same patch at another size are embedded alike.
//   x  p x p pixels, as a vector; B x  the same resized to P x P by bilinear interpolation (half-pixel centres, no antialiasing)
//   w  the kernel of p x p;       w' = argmin_w' E[(<x, w> - <B x, w'>)^2], x white, = (B^T)^+ w
// P > p: B^T (B^T)^+ = 1, so that <B x, w'> = <x, w> exactly. P < p: the nearest that there is.
// <y, (B^T)^+ w> = <B^+ y, w>: a patch of P x P pixels may as well be brought to p x p by B^+ and meet the kernel as it is, which is how
// the miniature does it: one kernel, every gradient reaches it, and patches of all sizes stand in one list. B = R (x) R of one
// side's matrix, so B^+ = R^+ (x) R^+. Pseudo-inverses and products are in float64.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace ropescope::miniature {

/// R: bilinear interpolation of `from` pixels to `to`, float64 [to, from].
at::Tensor resize_matrix(int64_t from, int64_t to);

/// Patches of another size as the kernel of `to` pixels a side sees them: [n, channels P^2] -> [n, channels to^2], of the same type;
/// untouched where P is `to`. Throws InternalError for rows that are no square patches.
at::Tensor patches_at_size(const at::Tensor& patches, int64_t channels, int64_t to);

}  // namespace ropescope::miniature
