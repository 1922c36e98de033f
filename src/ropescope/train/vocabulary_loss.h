// Cross-entropy over the vocabulary without ever holding all logits.
//   loss = scale * sum_n -log softmax(W h_n)[y_n]
// Rows go through in chunks; a chunk's gradient is taken while its probabilities are there, so that the
// forward pass leaves [N, C] and [V, C] behind instead of [N, V].
// Shapes  N predictions, C hidden size, V vocabulary
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace ropescope {

inline constexpr int64_t kIgnoredLabel = -100;

/// Scalar float32, the sum over targets that are not kIgnoredLabel, times `scale`. hidden [N, C], weight
/// [V, C] (both float32 or bfloat16; sums in float32), targets int64 [N]. Differentiable once in hidden and
/// weight. `chunk` rows at a time; 0: as many as keep a chunk's logits at about 64 MiB. Under
/// InPlaceGradients the weight's gradient is added to it in the forward pass. Throws InputError for a target
/// outside the vocabulary.
at::Tensor vocabulary_loss(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets,
                           double scale = 1.0, int64_t chunk = 0);

/// labels [B, T] shifted by one, and how many of them are targets.
struct ShiftedLabels {
  at::Tensor targets;  ///< int64 [B, T - 1]
  int64_t count = 0;
};
ShiftedLabels shift_labels(const at::Tensor& labels);

}  // namespace ropescope
