// The weights of a decoder: one struct for all families, what a family has not is undefined.
// Shapes  C hidden_size, H query heads, K key/value heads, D head_dim, I width of a feed-forward, E experts
#pragma once

#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/architectures/architecture.h"
#include "ropescope/models/blocks/expert_store.h"

namespace ropescope {

struct DecoderLayerWeights {
  at::Tensor input_norm;          ///< [C], before attention (and a parallel feed-forward)
  at::Tensor attention_out_norm;  ///< [C], of what attention gives
  at::Tensor mlp_norm;            ///< [C], before the feed-forward
  at::Tensor mlp_out_norm;        ///< [C], of what the feed-forward gives
  at::Tensor q, k, v, o;          ///< [H*D, C] (with an output gate [H*2D, C]), [K*D, C], [K*D, C], [C, H*D]
  at::Tensor q_bias, k_bias, v_bias, o_bias;
  at::Tensor q_norm, k_norm;  ///< [D], or [H*D] and [K*D] for all heads together
  at::Tensor sinks;           ///< [H]
  at::Tensor gate, up, down;  ///< [I, C], [I, C], [C, I]
  at::Tensor gate_bias, up_bias, down_bias;
  // Latent attention.
  at::Tensor q_a, q_a_norm, kv_a, kv_a_norm, kv_b;
  // The gated delta rule; its output matrix is `o`.
  at::Tensor delta_input, delta_gate, delta_step, delta_beta, delta_kernel, delta_decay, delta_bias,
      delta_norm;
  // Experts; `experts` gives the matrices of one when it is needed.
  at::Tensor router, router_bias, router_scale, router_correction, expert_scale;
  at::Tensor shared_gate, shared_up, shared_down;
  at::Tensor mlp_branch_norm, expert_norm, expert_out_norm;  ///< Gemma 4: dense and experts side by side
  std::shared_ptr<const ExpertSource> experts;
  // Gemma 4.
  at::Tensor output_scale;                                                ///< [1]
  at::Tensor layer_input_gate, layer_input_projection, layer_input_norm;  ///< [n, C], [C, n], [C]
};

struct DecoderWeights {
  at::Tensor embed_tokens;  ///< [V, C]; read through embed_tokens(), which scales
  std::vector<DecoderLayerWeights> layers;
  at::Tensor norm;     ///< [C]
  at::Tensor lm_head;  ///< [V, C]; the same tensor as embed_tokens when tied
  /// Gemma 4: an embedding for each layer [V, L n], a projection of the first hidden state [L n, C], its norm [n].
  at::Tensor layer_embedding, layer_embedding_projection, layer_embedding_norm;
};

/// Calls f(kind, tensor) for every tensor of a layer: the one list of them, for slots, gradients, casts and counts.
/// W: DecoderLayerWeights, const or not.
template <typename W, typename F>
void visit_layer(W& w, const F& f) {
  using Kind = TensorKind;
  f(Kind::kQuery, w.q), f(Kind::kKey, w.k), f(Kind::kValue, w.v), f(Kind::kAttentionOut, w.o);
  f(Kind::kQueryBias, w.q_bias), f(Kind::kKeyBias, w.k_bias), f(Kind::kValueBias, w.v_bias);
  f(Kind::kAttentionOutBias, w.o_bias), f(Kind::kQueryNorm, w.q_norm), f(Kind::kKeyNorm, w.k_norm);
  f(Kind::kSinks, w.sinks), f(Kind::kAttentionNorm, w.input_norm);
  f(Kind::kAttentionOutNorm, w.attention_out_norm), f(Kind::kMlpNorm, w.mlp_norm);
  f(Kind::kMlpOutNorm, w.mlp_out_norm), f(Kind::kGate, w.gate), f(Kind::kUp, w.up), f(Kind::kDown, w.down);
  f(Kind::kGateBias, w.gate_bias), f(Kind::kUpBias, w.up_bias), f(Kind::kDownBias, w.down_bias);
  f(Kind::kQueryDown, w.q_a), f(Kind::kQueryDownNorm, w.q_a_norm), f(Kind::kLatentDown, w.kv_a);
  f(Kind::kLatentNorm, w.kv_a_norm), f(Kind::kLatentUp, w.kv_b);
  f(Kind::kDeltaInput, w.delta_input), f(Kind::kDeltaGate, w.delta_gate), f(Kind::kDeltaStep, w.delta_step);
  f(Kind::kDeltaBeta, w.delta_beta), f(Kind::kDeltaKernel, w.delta_kernel),
      f(Kind::kDeltaDecay, w.delta_decay);
  f(Kind::kDeltaBias, w.delta_bias), f(Kind::kDeltaNorm, w.delta_norm), f(Kind::kRouter, w.router);
  f(Kind::kRouterBias, w.router_bias), f(Kind::kRouterScale, w.router_scale);
  f(Kind::kRouterCorrection, w.router_correction), f(Kind::kExpertScale, w.expert_scale);
  f(Kind::kSharedGate, w.shared_gate), f(Kind::kSharedUp, w.shared_up), f(Kind::kSharedDown, w.shared_down);
  f(Kind::kMlpBranchNorm, w.mlp_branch_norm), f(Kind::kExpertNorm, w.expert_norm);
  f(Kind::kExpertOutNorm, w.expert_out_norm), f(Kind::kOutputScale, w.output_scale);
  f(Kind::kLayerInputGate, w.layer_input_gate), f(Kind::kLayerInputProjection, w.layer_input_projection);
  f(Kind::kLayerInputNorm, w.layer_input_norm);
}

/// The same for the tensors outside of layers.
template <typename W, typename F>
void visit_outside(W& w, const F& f) {
  using Kind = TensorKind;
  f(Kind::kEmbedding, w.embed_tokens), f(Kind::kFinalNorm, w.norm), f(Kind::kOutput, w.lm_head);
  f(Kind::kLayerEmbedding, w.layer_embedding);
  f(Kind::kLayerEmbeddingProjection, w.layer_embedding_projection);
  f(Kind::kLayerEmbeddingNorm, w.layer_embedding_norm);
}

/// Any tensor of a layer, by which a WeightAccess knows the layer.
const at::Tensor& any_weight(const DecoderLayerWeights& layer);

}  // namespace ropescope
