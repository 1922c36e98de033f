// LLaVA-NeXT: images through a vision tower and a projector into the embeddings of a decoder.
//   feature = linear_2(act(linear_1(tower(tile))))                             one per patch of each tile
//   image   = thumbnail, row by row; then the rows of the whole mosaic of tiles without the padding, each
//             followed by image_newline
// The geometry is that of vision/anyres.h. Source: LLaVA-NeXT (Liu et al., January 2024).
// Shapes  N images, n tiles of an image (thumbnail first), S pixels, g patches a side, C decoder hidden_size
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/architectures/llava_config.h"
#include "ropescope/models/decoder.h"
#include "ropescope/models/vision_tower.h"
#include "ropescope/rope/layout.h"
#include "ropescope/vision/anyres.h"

namespace ropescope {

/// Tiles of a large tower that go through it at once: enough to fill a machine, few enough to need little
/// memory. Of a small tower more go at once.
inline constexpr int64_t kTilesAtOnce = 8;

struct Projector {
  Affine linear_1, linear_2;
  Activation activation = Activation::kGelu;
};

struct Llava {
  LlavaConfig config;
  Decoder decoder;
  VisionTower tower;  ///< as many layers as the features need
  Projector projector;
  at::Tensor image_newline;  ///< [C]
  /// Weight files of a tower that lies outside the checkpoint, for provenance.
  std::vector<std::filesystem::path> tower_files;
};

/// `folder` is needed only for a tower that is not inside the checkpoint. Throws InputError naming what is
/// missing.
Llava load_llava(const Checkpoint& checkpoint, const LlavaConfig& config, const std::filesystem::path& folder,
                 const LoadOptions& options);
/// The same from a file that stays open, for weights that are streamed.
Llava load_llava(std::shared_ptr<const Checkpoint> checkpoint, const LlavaConfig& config,
                 const std::filesystem::path& folder, const LoadOptions& options);

/// One image as the model takes it.
struct LlavaImage {
  at::Tensor pixel_values;  ///< float32 [at least n, 3, S, S]; tiles beyond the image's own are not read
  AnyresGeometry geometry;
};

/// Projected features of tiles [n, 3, S, S], a few tiles at a time: [n, g^2, C]. Differentiable; where
/// nothing of the tower is trained, it leaves no graph behind.
at::Tensor encode_tiles(const Llava& llava, const at::Tensor& pixel_values);

/// The embeddings that stand for an image, [geometry.tokens, C]. Differentiable. Throws InputError if there
/// are fewer tiles than the geometry has, or the tower's grid is not the geometry's.
at::Tensor image_embeddings(const Llava& llava, const LlavaImage& image);
/// The same for many images, whose tiles go through the tower together.
std::vector<at::Tensor> image_embeddings(const Llava& llava, const std::vector<LlavaImage>& images);

/// The block that an image is in a layout.
Segment image_segment(const AnyresGeometry& geometry);

/// Prompts in which every image has its tokens.
struct ImagePrompt {
  at::Tensor input_ids;         ///< int64 [B, T]; at image tokens the image token's id, or -200 without one
  at::Tensor attention_mask;    ///< int64 [B, T], or undefined
  std::vector<Layout> layouts;  ///< of each row, T tokens; padding counts as text
  /// [B T], row-major: which image a token belongs to, or kText, or kPadding for a token that was added.
  std::vector<int64_t> image_of;
  static constexpr int64_t kText = -1, kPadding = -2;
};

/// Expands the images of `input_ids` [B, T']: an image is its full run of image tokens, or one image token,
/// or one -200; images are taken in order, row by row. Rows that come to different lengths lose the tokens
/// that `attention_mask` hides and are padded on the right. Throws InputError if images and tokens do not
/// match, or a text token lies outside the vocabulary.
ImagePrompt expand_images(const at::Tensor& input_ids, const at::Tensor& attention_mask,
                          const std::vector<AnyresGeometry>& images, const LlavaConfig& config);

/// Embeddings of text tokens and images, [B, T, C]; zero at tokens added as padding. Differentiable.
at::Tensor merge_embeddings(const Llava& llava, const ImagePrompt& prompt,
                            const std::vector<LlavaImage>& images);
/// The same with the embeddings of the images themselves.
at::Tensor merge_embeddings(const Llava& llava, const ImagePrompt& prompt,
                            const std::vector<at::Tensor>& embeddings);

}  // namespace ropescope
