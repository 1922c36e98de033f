// Inputs of `ropescope attention` with pictures in them: LLaVA prompts, and layouts of a language model whose
// visual tokens are patches.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/models/llava.h"

#include "attention_input.h"
#include "layout_input.h"

namespace ropescope::app {

/// Rows of --tokens of a model without images; one layout serves them all.
AttentionInputs token_inputs(const Arguments& arguments, const Decoder& decoder);

/// --decoder: patches of --image through a random projection, laid out by --preset or --layout.
AttentionInputs patch_inputs(const Arguments& arguments, const CommonSettings& settings,
                             const std::shared_ptr<const Decoder>& decoder, const std::string& model);

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
AttentionSource read_llava_source(const Arguments& arguments, const CommonSettings& settings,
                                  const std::string& model);

}  // namespace ropescope::app
