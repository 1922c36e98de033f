// Inputs of `ropescope attention` with pictures in them: LLaVA prompts, and layouts of a language model whose
// visual tokens are patches.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ropescope/models/llava.h"

#include "attention/attention_input.h"

namespace ropescope::app::attention {

/// Rows of --tokens of a model without images; one layout serves them all.
AttentionInputs token_inputs(const InputFlags& flags, const Decoder& decoder);

/// --decoder: patches of --image through a random projection, laid out by --preset or --layout.
AttentionInputs patch_inputs(const InputFlags& flags, uint64_t seed,
                             const std::shared_ptr<const Decoder>& decoder);

/// An image as the tower takes it and as a person sees it.
struct SeenImage {
  LlavaImage image;
  AttendedPicture picture;
};
/// `rgb_HW3` may be undefined.
SeenImage seen(LlavaImage image, std::string name, const at::Tensor& rgb_HW3);

/// One prompt [1, T] with an image for each kImageId of it, in order.
AttentionInput prompt_input(const Llava& llava, const at::Tensor& ids, const std::vector<SeenImage>& images);

/// --model with --image or --pixels: a LLaVA-NeXT folder and what it sees.
AttentionSource read_llava_source(const InputFlags& flags, const CommonSettings& settings, bool generates);

}  // namespace ropescope::app::attention
