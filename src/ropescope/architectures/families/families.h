// The decoder families, each in a file of its own.
#pragma once

#include "ropescope/architectures/architecture.h"

namespace ropescope::families {

extern const Architecture kLlama, kQwen2, kMistral, kMinistral3, kSmollm3, kGranite;
extern const Architecture kQwen3, kQwen3Moe, kQwen35, kPhi3, kGlm4, kOlmo2, kOlmo3, kCohere2;
extern const Architecture kQwen2Vl, kQwen25Vl, kQwen3Vl, kGlm4v;
extern const Architecture kGemma2, kGemma3, kGemma4, kGptOss, kDeepseekV3, kLlama4;

}  // namespace ropescope::families
