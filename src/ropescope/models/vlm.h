// A vision-language model: pictures and clips through a tower and a connector into the embeddings of a decoder.
//   features = connector(tower(pixels))                    one vector a token, [tokens, C]
//   x_0      = token embeddings, with the features in the places of the placeholder tokens
//   x_l     += deep features of the same tokens            (DeepStack, after the decoder layers that the family says)
// Which family does what is data: architectures/vlm_config.h; the geometry is vision/media_plan.h's.
// Shapes  B rows, T tokens, C decoder hidden_size
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/architectures/vlm_config.h"
#include "ropescope/models/decoder.h"
#include "ropescope/models/generate.h"
#include "ropescope/models/media_prompt.h"
#include "ropescope/models/vision_part.h"
#include "ropescope/vision/media_processor.h"

namespace ropescope {

struct Vlm {
  VlmConfig config;
  Decoder decoder;
  VisionPart eyes;
  /// Weight files of a tower that lies outside the checkpoint, for provenance.
  std::vector<std::filesystem::path> tower_files;
};

/// `folder` is needed only for a tower that is not inside the checkpoint. `whole_tower`: also the layers that the features
/// do not need, which taps then see. Throws InputError naming what is missing.
Vlm load_vlm(std::shared_ptr<const Checkpoint> checkpoint, const VlmConfig& config,
             const DecoderConfig& decoder, const std::filesystem::path& folder, const LoadOptions& options,
             bool whole_tower = false);

/// The ids of a family's placeholder tokens.
MediaMarks media_marks(const VlmConfig& config);

/// Whether the tokens of one picture see each other in both directions (Gemma 3).
bool sees_both_ways(const VlmConfig& config);

/// What the decoder gets of pictures and clips.
struct SeenMedia {
  std::vector<at::Tensor> features;  ///< of each item, [its tokens, C]
  std::vector<std::vector<at::Tensor>>
      deepstack;  ///< [level][item], the same shapes; empty without DeepStack
};

/// The items' pixels through tower and connector, all of a kind together. Differentiable. Throws InputError for pixels
/// that are not of the plan's form.
SeenMedia see(const Vlm& vlm, const std::vector<MediaItem>& items, const VisionTaps& image_taps = {},
              const VisionTaps& video_taps = {});

/// Embeddings of a prompt and all that its pictures bring along.
struct MediaEmbeddings {
  at::Tensor inputs_embeds;          ///< [B, T, C]; zero at tokens added as padding
  std::vector<AddedFeatures> added;  ///< DeepStack
  at::Tensor groups;                 ///< int32 [B, T]: Gemma 3; else undefined

  void give(ForwardInput& input) const;
  void give(GenerateInput& input) const;
};

/// `prompt` may be a beginning of the one that the items were placed in: `item_of` and `input_ids` then end early.
MediaEmbeddings embed(const Vlm& vlm, const MediaPrompt& prompt, const SeenMedia& seen);

/// Rows of one length, one below the other.
MediaEmbeddings in_rows(const std::vector<MediaEmbeddings>& rows);

/// The checkpoint's own position ids of a prompt, [3, B, T] float64; undefined where they have one row and count tokens.
/// Hidden tokens take none (0).
at::Tensor own_position_ids(const DecoderConfig& config, const MediaPrompt& prompt);

}  // namespace ropescope
