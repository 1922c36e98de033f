// The vision-language families, each in a file of its own.
#pragma once

#include "ropescope/architectures/vlm_config.h"

namespace ropescope::vlm_family {

extern const VlmFamily kQwen2Vl, kQwen25Vl, kNaflex, kQwen3Vl, kQwen35, kGlm4v;
extern const VlmFamily kLlava, kLlavaNext, kLlavaOnevision, kInternVl, kIdefics3, kSmolVlm, kGemma3;

}  // namespace ropescope::vlm_family
