// The names of a vision tower's tensors, by whose tower it is: below `vision_tower.`, `visual.`, ... (llava_names.h).
#pragma once

#include <vector>

#include "ropescope/architectures/vision_config.h"
#include "ropescope/weights/checkpoint.h"

namespace ropescope {

/// Empty: the tower has none. Without ".weight" and ".bias", but for those that have neither.
struct VisionNames {
  const char* patch = "";
  const char* position = "";     ///< the whole name
  const char* class_token = "";  ///< the whole name
  bool batched = false;          ///< position and class token are [1, tokens, C]
  const char *pre_norm = "", *post_norm = "";
  const char* layers = "";  ///< what stands before a layer's number
  const char* norm1 = "";
  const char* qkv = "";  ///< rows of q, of k and of v, in one tensor; else apart
  const char *q = "", *k = "", *v = "";
  const char *out = "", *norm2 = "";
  const char *gate = "", *fc1 = "", *fc2 = "";
  const char *scale1 = "", *scale2 = "";  ///< the whole names
};

/// All spellings, the usual one first.
const std::vector<VisionNames>& vision_names(VisionKind kind);

/// The spelling that a tower's part of a checkpoint goes by; the usual one where none fits.
const VisionNames& vision_names(VisionKind kind, const Checkpoint& tower);

}  // namespace ropescope
