// Names of a vision-language model's parameters, as its checkpoints, --train, --freeze and learning-rate groups have them.
// They are those of the public files of its family, with two exceptions: LLaVA-NeXT goes by transformers' own names
// ("model.vision_tower....", "model.language_model...."), and of a fused qkv each part is named apart ("...attn.qkv.q.weight").
#pragma once

#include <string>
#include <vector>

#include "ropescope/models/tensor_slots.h"
#include "ropescope/models/vlm.h"

namespace ropescope {

/// Tower, connector, newline, decoder. A tied output matrix is none of its own. Slots keep addresses.
std::vector<TensorSlot> vlm_slots(Vlm& vlm);

/// What stands before the names of a family's tower and newline.
std::string tower_prefix(const VlmFamily& family);

/// Patterns (* stands for anything) that match all of the connector and nothing else; likewise of the tower.
std::vector<std::string> connector_patterns(const VlmConfig& config);
std::vector<std::string> tower_patterns(const VlmConfig& config);

}  // namespace ropescope
