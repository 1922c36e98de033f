// Which part of a vision-language checkpoint a tensor belongs to, and its name there. Known spellings:
//   part        llava-hf (transformers 4)       transformers 5 in memory          original LLaVA
//   decoder     language_model.model.*          model.language_model.*            model.*
//               language_model.lm_head.*        lm_head.*                         lm_head.*
//   tower       vision_tower.vision_model.*     model.vision_tower.*              model.vision_tower.
//                                                                                 vision_tower.vision_model.*
//   projector   multi_modal_projector.linear_1  model.multi_modal_projector.*     model.mm_projector.0, .2
//   newline     image_newline                   model.image_newline               model.image_newline
// and of the other families
//   part        Qwen-VL, GLM-4V                   Idefics3, SmolVLM               InternVL (OpenGVLab)
//   decoder     model.*, model.language_model.*   model.text_model.*              language_model.*
//   tower       visual.*, model.visual.*          model.vision_model.*            vision_model.*
//   projector   visual.merger.*, .downsample.*,   model.connector.*               mlp1.0, .1, .3
//               .deepstack_merger_list.*, .adaptor.*
// and files with a vision tower alone, or with a text tower beside it (CLIP, SigLIP).
#pragma once

#include <memory>
#include <string>

#include "ropescope/weights/checkpoint.h"

namespace ropescope {

enum class LlavaPart { kDecoder, kTower, kProjector, kNewline, kOther };

struct LlavaRole {
  LlavaPart part = LlavaPart::kOther;
  /// kDecoder: as in a Llama checkpoint (`model.layers.0...`, `lm_head.weight`); kTower: below
  /// `vision_model.` or `visual.` (`embeddings...`, `encoder.layers.0...`, `blocks.0...`); kProjector:
  /// `linear_1.weight`, `merger.mlp.0.weight`, ...; kNewline: `image_newline`.
  std::string name;
};

LlavaRole llava_role(const std::string& name);

/// One part of `checkpoint` (which must outlive the view) under the names above; empty if it has none.
std::unique_ptr<Checkpoint> llava_part(const Checkpoint& checkpoint, LlavaPart part);

/// Whether a file holds more than a decoder: then its decoder is a part of it.
bool has_vision_tensors(const Checkpoint& checkpoint);

}  // namespace ropescope
