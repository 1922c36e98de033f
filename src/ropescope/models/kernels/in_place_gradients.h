// Gradients that are added where they belong. Autograd hands each gradient over as a tensor of its own and
// then adds it to what is there: for a large weight that is one more pass over memory than the product itself
// needs.
#pragma once

#include <ATen/core/Tensor.h>

namespace ropescope::kernels {

/// While one lives, backward passes of this thread over a CPU graph may add straight to `.grad()` of leaves
/// (linear, gated_linear, embedding), and vocabulary_loss may do so in its forward pass. For a caller that
/// differentiates each loss once with a factor of 1 and throws all gradients away when something fails: the
/// training loop.
class InPlaceGradients {
 public:
  InPlaceGradients();
  ~InPlaceGradients();
  InPlaceGradients(const InPlaceGradients&) = delete;
  InPlaceGradients& operator=(const InPlaceGradients&) = delete;

  static bool active();
  /// Whether gradients of `weight` may be added in place: a CPU leaf of float32 that nobody watches (hooks).
  static bool serves(const at::Tensor& weight);

 private:
  bool before_;
};

/// The gradient dy^T x [out, in] of weight [out, in], for autograd; or undefined where it has been added in
/// place. dy [N, out], x [N, in].
at::Tensor weight_gradient(const at::Tensor& weight, const at::Tensor& dy, const at::Tensor& x);

/// Rows of `table` [V, C]: int64 ids of any shape -> [..., C]. Differentiable in the table.
at::Tensor embedding(const at::Tensor& table, const at::Tensor& ids);

}  // namespace ropescope::kernels
