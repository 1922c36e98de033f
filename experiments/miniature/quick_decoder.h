// The miniature's decoder once more, for training: forward and backward pass in one go, one picture at a time, in buffers that
// stay in the cache of one core. It computes what models/decoder.h computes (tests compare the two, numbers and gradients);
// it knows one family (RMS norm, rotation, causal softmax, SwiGLU) and asks of the last layer only what is wanted of it.
//   loss = sum over rows b and wanted tokens i of weight_i (-log softmax(W h[b, i])[target[b, i]])
// Shapes  B pictures, T tokens, C width, n wanted tokens
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/models/decoder.h"

#include "quick_layer.h"

namespace ropescope::miniature {

/// Whether the quick passes know this decoder and what the encoding asks of attention: rotation alone, of float32 on the CPU, in
/// sizes that are multiples of 16. Where not, the library's passes serve.
bool is_quick(const Decoder& decoder, const PassEncoding& encoding);

struct QuickLoss {
  at::Tensor loss;            ///< a scalar, differentiable once in the embeddings and all weights
  std::vector<double> parts;  ///< of each wanted token, summed over the rows, without its weight
};

/// Passes over sequences of one length under one encoding, from which the same tokens are wanted. Weights are read anew in each.
class QuickPass {
 public:
  /// `wanted`: ascending. Decoder and encoding must live as long.
  QuickPass(const Decoder& decoder, const PassEncoding& encoding, int64_t tokens,
            std::vector<int64_t> wanted);

  /// Hidden states after the last norm of the wanted tokens of each row, [B, n, C], without a graph. embeddings [B, T, C].
  at::Tensor hidden(const at::Tensor& embeddings);
  /// `targets` int64 [B, n], in the vocabulary; `weights` [n].
  QuickLoss loss(const at::Tensor& embeddings, const at::Tensor& targets, const std::vector<float>& weights);

  /// Of loss, without autograd.
  struct Gradients {
    double loss = 0;
    std::vector<double> parts;
    at::Tensor embeddings;
    std::vector<at::Tensor> parameters;  ///< as parameters() lists them
  };
  Gradients gradients(const at::Tensor& embeddings, const at::Tensor& targets,
                      const std::vector<float>& weights);
  std::vector<at::Tensor> parameters() const;

 private:
  void read_weights();
  void forward(const float* x, float* hidden);
  void backward(const float* dhidden, const std::vector<QuickGradients>& gradients, float* dnorm, float* dx);

  const Decoder& decoder_;
  QuickSizes sizes_;
  int64_t tokens_;
  std::vector<int64_t> wanted_;
  std::vector<QuickWeights> weights_;
  std::vector<QuickAngles> angles_;
  std::vector<QuickLayer> layers_;
  const float* last_ = nullptr;  // the last layer's output
  Numbers scale_, head_across_, hidden_, dhidden_, logits_, above_, below_;
};

}  // namespace ropescope::miniature
