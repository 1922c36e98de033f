// Inputs of `ropescope attention` with pictures in them: prompts of vision-language models, and layouts of a language model whose
// visual tokens are patches.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ropescope/models/vlm.h"

#include "attention/attention_input.h"

namespace ropescope::app::attention {

/// Rows of --tokens of a model without images; one layout serves them all.
AttentionInputs token_inputs(const InputFlags& flags, const Decoder& decoder);

/// --decoder: patches of --image through a random projection, laid out by --preset or --layout.
AttentionInputs patch_inputs(const InputFlags& flags, uint64_t seed,
                             const std::shared_ptr<const Decoder>& decoder);

/// One prompt [1, T] whose ids are ready for place_media.
AttentionInput prompt_input(const Vlm& vlm, const at::Tensor& ids, const std::vector<NamedMedia>& media);

/// --model with --image, --video or --pixels: a vision-language model and what it sees.
AttentionSource read_media_source(const InputFlags& flags, const CommonSettings& settings, bool generates);

}  // namespace ropescope::app::attention
