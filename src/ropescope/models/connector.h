// Connectors: from the features of a vision tower to tokens of the decoder's width. architectures/vlm_config.h says which
// a model has.
//   kMlp            W2 act(W1 x)
//   kShuffleMlp     W2 act(W1 n(s(x)))           s: k x k patches side by side
//   kShuffleLinear  W1 s(x)
//   kPooled         n(mean of k x k patches) M   n = RMSNorm with 1 + w
//   kMerger         W2 act(W1 s(n(x)));          a DeepStack merger: W2 act(W1 n(s(x)))
//   kStridedMerger  D (silu(G y) * U y),         y = gelu(n(W1 conv(x)))
// Shapes  n tiles of g x g patches [n, g^2, C], or P patches in blocks of k^2 [P, C] (models/vision_patches.h)
// Differentiable.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/architectures/vlm_config.h"
#include "ropescope/models/tensor_slots.h"
#include "ropescope/models/vision_tower.h"
#include "ropescope/vision/anyres.h"

namespace ropescope {

struct MergerWeights {
  Affine norm, first, second;  ///< second undefined where there is one matrix; kPooled: first [in, out]
};

struct Connector {
  ConnectorConfig config;
  MergerWeights weights;
  std::vector<MergerWeights> deepstack;
  // kStridedMerger; `weights.second` is D.
  Affine downsample;  ///< [out, C, k, k]
  at::Tensor gate, up;
};

/// Names below the connector's prefix (llava_names.h). Slots keep addresses: `deepstack` gets its size here.
std::vector<TensorSlot> connector_slots(Connector& connector);

/// Tensors of `checkpoint` under those names. Throws InputError listing missing tensors and wrong shapes; unexpected names
/// are warned of once.
Connector load_connector(const Checkpoint& checkpoint, const ConnectorConfig& config, at::ScalarType dtype,
                         at::Device device);

bool requires_grad(const Connector& connector);

/// Tokens of tiles, [n, g^2, C] -> [n, g^2 / k^2, out], or of patches, [P, C] -> [P / k^2, out].
at::Tensor connect(const Connector& connector, const at::Tensor& features);
/// Of the patches that the tower's j-th DeepStack layer gave.
at::Tensor connect_deep(const Connector& connector, size_t j, const at::Tensor& features);

/// Blocks of k x k patches side by side, row before column inside a block: [n, h w, C] -> [n, h w / k^2, k^2 C], blocks row
/// by row. `transposed` (InternVL's first version): blocks column by column. Throws InputError unless k divides h and w.
at::Tensor pixel_shuffle(const at::Tensor& x, int64_t height, int64_t width, int64_t k,
                         bool transposed = false);

/// Rows and columns that are left of an anyres mosaic: geometry.feat_H1W1, or fewer where more than `most_tiles` tiles of
/// g^2 features (0: any number) would be kept: with r = sqrt(a b / (most_tiles g^2)) > 1.1, floor(a / r) and floor(b / r).
/// (LLaVA-OneVision, arXiv 2408.03326)
std::array<int64_t, 2> anyres_map_size(const AnyresGeometry& geometry, int64_t most_tiles);

/// A picture's tokens from its tiles [1 + columns rows, g^2, C], thumbnail first: the thumbnail row by row, then the mosaic
/// of the other tiles without the padding, made `rows` x `columns` (bilinear, half-pixel centres, no antialiasing) where
/// that is smaller, each row followed by `newline` [C]. [g^2 + rows (columns + 1), C]
at::Tensor onevision_features(const at::Tensor& tiles, const AnyresGeometry& geometry, int64_t rows,
                              int64_t columns, const at::Tensor& newline);

}  // namespace ropescope
