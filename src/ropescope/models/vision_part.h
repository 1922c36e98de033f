// The seeing part of a vision-language model: tower, connector and newline, from pictures to tokens of the decoder's width.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/architectures/vlm_config.h"
#include "ropescope/models/connector.h"
#include "ropescope/models/vision_tower.h"
#include "ropescope/vision/anyres.h"

namespace ropescope {

struct VisionPart {
  VlmConfig config;
  VisionTower tower;  ///< as many layers as the features need
  Connector connector;
  at::Tensor image_newline;  ///< [C]; undefined where the family has none
};

/// Loads by the names of all spellings (architectures/llava_names.h, vision_names.h). Of `options`, `layers`
/// counts where it is more than the features need. Throws InputError listing missing tensors and wrong shapes; unexpected names are
/// warned of.
VisionPart load_vision_part(const Checkpoint& checkpoint, const VlmConfig& config,
                            const VisionLoadOptions& options = {});
/// The same from a file that stays open, for layers that are streamed. `tower`: where the tower lies in files of its own
/// (original LLaVA); null: in the checkpoint.
VisionPart load_vision_part(std::shared_ptr<const Checkpoint> checkpoint, const VlmConfig& config,
                            const VisionLoadOptions& options,
                            std::shared_ptr<const Checkpoint> tower = nullptr);

/// All parameters by the names that transformers gives them, in every file the same; a fused qkv as its parts. Slots keep
/// addresses. What no feature needs (later layers, a pooling head) is not among them.
std::vector<TensorSlot> vision_part_slots(VisionPart& part);

/// Whether anything of it is trained.
bool requires_grad(const VisionPart& part);

/// Pictures as the processor of a family gives them.
struct VisionInputs {
  /// PictureTokens::kPatches: [P, channels * frames * p * p]; else tiles [n, 3, S, S], or [pictures or texts, n, 3, S, S].
  at::Tensor pixel_values;
  std::vector<PatchGrid> grids;  ///< kPatches: of each picture
  /// kTiles: tiles of each picture, one after the other. Empty: each tile of `pixel_values` is a picture.
  std::vector<int64_t> tiles;
  /// kAnyres: of each picture; none: it was not cut into tiles (one tile, then one newline). Of [pictures, n, 3, S, S], tiles
  /// beyond a picture's own are not read.
  std::vector<std::optional<AnyresGeometry>> anyres;
};

struct VisionFeatures {
  at::Tensor features;  ///< [tokens, C], all pictures in order, as they enter the sequence
  /// [tokens, C]: to be added to the hidden states of these tokens after decoder layer j.
  std::vector<at::Tensor> deepstack;
  std::vector<int64_t> lengths;  ///< tokens of each picture
};

/// Differentiable; where nothing of the tower is trained, its layers leave no graph behind. A few pictures go through the
/// tower at a time, unless `taps` watch. Throws InputError if pixels and geometry do not match.
VisionFeatures encode(const VisionPart& part, const VisionInputs& inputs, const VisionTaps& taps = {});

}  // namespace ropescope
