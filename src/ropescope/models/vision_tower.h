// Vision transformers as plain functions over a struct of weights: CLIP's, SigLIP's and those of vision-language models.
// What differs lies in the VisionConfig.
//   x_0 = pre(cat(class, P pixels) + position)      CLIP: class token, layer norm `pre_layrnorm`
//   x_0 = P pixels + b + position                   SigLIP
//   h   = x + O(softmax(q k^T / sqrt(D)) v),        q, k, v from n1(x)
//   x'  = h + fc2(act(fc1(n2(h)))),                 n = layer normalisation with bias
//   pooled: CLIP post(x_L)[class]; SigLIP y + mlp(n(y)), y = attention of a learned probe over post(x_L)
// and besides, where a tower has them: RMSNorm, gated MLP, factors a channel after attention and MLP, a 2-D rotation of q
// and k, learned positions stretched over each picture's grid, windows (models/vision_patches.h).
// Pictures are tiles of one size [B, 3, S, S], or patches of any grid [P, channels * frames * p * p].
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
#include "ropescope/models/vision_patches.h"
#include "ropescope/models/weight_access.h"
#include "ropescope/weights/checkpoint.h"

namespace ropescope {

/// Affine map of a layer: weight [out, in] and bias [out], or a norm's [C] and [C].
struct Affine {
  at::Tensor weight, bias;  ///< bias may be undefined
};

struct VisionLayerWeights {
  Affine norm1, q, k, v, out, norm2, fc1, fc2;  ///< with `gate`, fc1 is up and fc2 is down
  Affine gate;
  at::Tensor scale1, scale2;  ///< [C]; undefined: none
};

/// SigLIP's pooling head; undefined tensors where a checkpoint has none.
struct VisionHeadWeights {
  at::Tensor probe;  ///< [1, 1, C]
  Affine in_proj;    ///< [3C, C]: q, k, v one below the other
  Affine out_proj, norm, fc1, fc2;
};

struct VisionWeights {
  Affine patch;                ///< [C, 3, p, p], or [C, 3, frames, p, p]; bias but for CLIP
  at::Tensor class_embedding;  ///< [C] or [1, 1, C], CLIP and InternViT
  at::Tensor position;         ///< [T, C] or [1, T, C]; of a stretched table [side^2, C]
  Affine pre_norm;             ///< CLIP, GLM-4V
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

/// Loads by the names of the tower's family (architectures/vision_names.h), with or without `vision_model.`, alone, in a CLIP or SigLIP file or inside a
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
  /// Over patches: those that see each other, segment by segment; `patches` are places in the input, [n].
  std::function<void(int64_t layer, const at::Tensor& patches, const at::Tensor& rows_Hnn)> segment_attention;

  bool any() const { return hidden || attention || segment_attention; }
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

/// x under the tower's last norm, which must be there.
at::Tensor last_norm(const VisionTower& tower, const at::Tensor& x);

/// Of pictures of any size; rows in the input's order.
struct PatchFeatures {
  at::Tensor features;  ///< [P, C]: the last layer's output, under the last norm where the tower has one
  std::vector<at::Tensor> deep;  ///< [P, C]: the output of each of the DeepStack layers
};

/// All layers. `patches` [P, channels * frames * p * p] of all `grids` one after the other. Attention stays inside a frame
/// pair of a picture, or a window of it; memory grows with P. `taps.hidden` sees [P, C] in the tower's own order (by
/// windows, where it has some). Throws InputError if patches and grids do not match.
PatchFeatures patch_features(const VisionTower& tower, const at::Tensor& patches,
                             const std::vector<PatchGrid>& grids, const VisionTaps& taps = {});

at::Tensor activate(const at::Tensor& x, Activation activation);

}  // namespace ropescope
