// Mixture of experts: a router chooses a few feed-forwards for each token.
// Shapes  N tokens, C hidden size, E experts, k chosen a token, I inner width
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/models/blocks/expert_store.h"

namespace ropescope {

/// Undefined tensors are absent.
struct RouterWeights {
  at::Tensor weight = {};        ///< [E, C]
  at::Tensor bias = {};          ///< [E], kSoftmaxOfChosen
  at::Tensor correction = {};    ///< [E], kSigmoidGroups: counts for the choice only
  at::Tensor scale = {};         ///< [C], kScaledSoftmax: of the router's input
  at::Tensor expert_scale = {};  ///< [E], kScaledSoftmax: of the chosen weights
};

struct Routing {
  at::Tensor index;  ///< int64 [N, k], no expert twice in a row
  /// [N, k], float32 (float64 if x is); of the expert's output, with kSigmoidOnInput of its input.
  at::Tensor weight;
};

/// x [N, C]. `eps` is that of kScaledSoftmax's norm without a weight. Softmax and sigmoid are float32.
Routing route(const at::Tensor& x, const RouterWeights& weights, const ExpertShape& shape, double eps);

/// The chosen experts' outputs, weighted and added up, [N, C] of x's type; the shared expert is not among them. Only
/// experts that some token chose are taken, in their order, so that equal inputs give equal bits. Differentiable in x
/// and routing.weight.
at::Tensor mix_experts(const at::Tensor& x, const Routing& routing, const ExpertShape& shape,
                       GateActivation activation, const ExpertSource& source);

}  // namespace ropescope
