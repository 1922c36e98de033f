// Where the gradients of the quick passes are added up, over pictures: weights as quick_layer.h takes them, handed out as the
// decoder has them.
#pragma once

#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/models/decoder.h"

#include "known_gradients.h"
#include "quick_layer.h"

namespace ropescope::miniature {

/// What the loops need to know of a decoder.
inline QuickSizes quick_sizes(const DecoderConfig& config) {
  QuickSizes sizes;
  sizes.width = config.hidden_size;
  sizes.heads = config.num_attention_heads;
  sizes.head_dim = config.hidden_size / config.num_attention_heads;
  sizes.inner = config.intermediate_size;
  sizes.eps = static_cast<float>(config.rms_norm_eps);
  return sizes;
}

/// What they give gradients for, in the order of their lists.
inline std::vector<at::Tensor> quick_parameters(const Decoder& decoder) {
  std::vector<at::Tensor> list = {decoder.weights.norm, decoder.weights.lm_head};
  for (const DecoderLayerWeights& w : decoder.weights.layers) {
    list.insert(list.end(), {w.input_norm, w.q, w.k, w.v, w.o, w.mlp_norm, w.gate, w.up, w.down});
  }
  return list;
}

/// What a pass's gradients() found, for automatic differentiation: a scalar, differentiable once in `embeddings` and the decoder's
/// parameters. `found` has loss, embeddings and parameters.
template <typename Gradients>
at::Tensor quick_loss(const Decoder& decoder, const at::Tensor& embeddings, Gradients found) {
  std::vector<at::Tensor> inputs = quick_parameters(decoder);
  inputs.insert(inputs.begin(), embeddings);
  found.parameters.insert(found.parameters.begin(), found.embeddings);
  return with_gradients(found.loss, inputs, std::move(found.parameters));
}

class QuickSums {
 public:
  explicit QuickSums(const Decoder& decoder) {
    const int64_t width = decoder.config.hidden_size, inner = decoder.config.intermediate_size;
    norm_ = at::zeros({width});
    head_ = at::zeros(decoder.weights.lm_head.sizes());
    for (size_t l = 0; l < decoder.weights.layers.size(); ++l) {
      Layer layer = {at::zeros({width}), at::zeros({3 * width, width}), at::zeros({width, width}),
                     at::zeros({width}), at::zeros({2 * inner, width}), at::zeros({width, inner})};
      places_.push_back({layer.input_norm.mutable_data_ptr<float>(), layer.qkv.mutable_data_ptr<float>(),
                         layer.o.mutable_data_ptr<float>(), layer.mlp_norm.mutable_data_ptr<float>(),
                         layer.gate_up.mutable_data_ptr<float>(), layer.down.mutable_data_ptr<float>()});
      layers_.push_back(std::move(layer));
    }
  }

  const std::vector<QuickGradients>& places() const { return places_; }
  float* norm() const { return norm_.mutable_data_ptr<float>(); }
  float* head() const { return head_.mutable_data_ptr<float>(); }

  /// As QuickPass::parameters lists the weights.
  std::vector<at::Tensor> list() const {
    std::vector<at::Tensor> all = {norm_, head_};
    for (const Layer& layer : layers_) {
      const int64_t width = layer.o.size(0), inner = layer.down.size(1);
      all.insert(all.end(),
                 {layer.input_norm, layer.qkv.narrow(0, 0, width), layer.qkv.narrow(0, width, width),
                  layer.qkv.narrow(0, 2 * width, width), layer.o, layer.mlp_norm,
                  layer.gate_up.narrow(0, 0, inner), layer.gate_up.narrow(0, inner, inner), layer.down});
    }
    return all;
  }

 private:
  struct Layer {
    at::Tensor input_norm, qkv, o, mlp_norm, gate_up, down;
  };
  at::Tensor norm_, head_;
  std::vector<Layer> layers_;
  std::vector<QuickGradients> places_;
};

}  // namespace ropescope::miniature
