// CLIP's and SigLIP's vision transformers as plain functions over a struct of weights.
//   x_0 = pre(cat(class, P pixels) + position)      CLIP: class token, layer norm `pre_layrnorm`
//   x_0 = P pixels + b + position                   SigLIP
//   h   = x + O(softmax(q k^T / sqrt(D)) v),        q, k, v from n1(x)
//   x'  = h + fc2(act(fc1(n2(h)))),                 n = layer normalisation with bias
//   pooled: CLIP post(x_L)[class]; SigLIP y + mlp(n(y)), y = attention of a learned probe over post(x_L)
// Sources: Radford et al. 2021 (arXiv 2103.00020), Zhai et al. 2023 (arXiv 2303.15343).
// Shapes  B images, T tokens (class token first), C hidden_size, H heads, D = C / H, S pixels, p patch
// Patches are cut from the upper left; pixels that fill no patch are not seen. Differentiable.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/architectures/vision_config.h"
#include "ropescope/models/weight_access.h"
#include "ropescope/weights/checkpoint.h"

namespace ropescope {

/// Affine map of a layer: weight [out, in] and bias [out], or a norm's [C] and [C].
struct Affine {
  at::Tensor weight, bias;  ///< bias may be undefined
};

struct VisionLayerWeights {
  Affine norm1, q, k, v, out, norm2, fc1, fc2;
};

/// SigLIP's pooling head; undefined tensors where a checkpoint has none.
struct VisionHeadWeights {
  at::Tensor probe;  ///< [1, 1, C]
  Affine in_proj;    ///< [3C, C]: q, k, v one below the other
  Affine out_proj, norm, fc1, fc2;
};

struct VisionWeights {
  Affine patch;                ///< [C, 3, p, p]; bias for SigLIP
  at::Tensor class_embedding;  ///< [C], CLIP
  at::Tensor position;         ///< [T, C]
  Affine pre_norm;             ///< CLIP
  std::vector<VisionLayerWeights> layers;
  Affine post_norm;  ///< undefined where a checkpoint leaves it out
  VisionHeadWeights head;
};

/// Whether any of a tower's parameters up to its last layer is trained.
bool requires_grad(const VisionWeights& weights);

struct VisionTower {
  VisionConfig config;
  VisionWeights weights;
  WeightAccessPointer access = nullptr;
};

struct VisionLoadOptions {
  at::Device device = at::Device(at::kCPU);
  at::ScalarType dtype = at::kFloat;
  int64_t layers = -1;    ///< how many layers are needed; -1: all, with what comes after them
  bool streamed = false;  ///< layers stay in their file, which must then be shared
};

/// Loads by Hugging Face names, with or without `vision_model.`, alone, in a CLIP or SigLIP file or inside a
/// vision-language checkpoint. Throws InputError listing missing tensors and wrong shapes.
VisionTower load_vision_tower(const Checkpoint& checkpoint, const VisionConfig& config,
                              const VisionLoadOptions& options = {});
VisionTower load_vision_tower(std::shared_ptr<const Checkpoint> checkpoint, const VisionConfig& config,
                              const VisionLoadOptions& options);

/// An empty function costs nothing. Tensors are valid during the call only.
struct VisionTaps {
  /// 0: what enters layer 0 (for CLIP after `pre_layrnorm`); l: the output of layer l - 1.
  std::function<void(int64_t depth, const at::Tensor& hidden_BTC)> hidden;
  /// All softmax rows, float32, computed beside the fused kernel.
  std::function<void(int64_t layer, const at::Tensor& rows_BHTT)> attention;
};

struct VisionOutput {
  /// CLIP: x_L as it is; SigLIP: after the last norm. [B, T, C]
  at::Tensor last_hidden;
  at::Tensor pooled;  ///< [B, C]; undefined for SigLIP without a head
};

/// All layers. `pixel_values` [B, 3, S, S]. Throws InputError for another size.
VisionOutput forward(const VisionTower& tower, const at::Tensor& pixel_values, const VisionTaps& taps = {});

/// What a projector gets: the hidden states `layers` side by side without the class token, row by row,
/// [B, grid^2, C * layers]. Computes no layer beyond the last that is asked for.
at::Tensor visual_features(const VisionTower& tower, const at::Tensor& pixel_values,
                           const std::vector<int64_t>& layers, const VisionTaps& taps = {});

at::Tensor activate(const at::Tensor& x, Activation activation);

}  // namespace ropescope
