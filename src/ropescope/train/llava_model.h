// Losses of a LLaVA-NeXT model over rows with images, under any position encoding.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ropescope/models/llava.h"
#include "ropescope/train/conversation.h"
#include "ropescope/train/text_model.h"

namespace ropescope {

/// A conversation and its images, in the order of their placeholders.
struct LlavaRow {
  std::string name;
  LabeledIds text;  ///< an image is one kImageId, or the full run of image tokens
  std::vector<LlavaImage> images;
};

/// All parameters of the model by transformers' names (llava_slots), made trainable; a tied output matrix
/// stays tied.
std::vector<Parameter> make_trainable(Llava& llava, const std::vector<std::string>& trained,
                                      const std::vector<std::string>& frozen, bool copy = true);

/// The sum over the rows' targets of the negative log-likelihood, times `scale`. Every row has a layout, and
/// so positions, of its own; rows go together as llava_batch.h says. Image tokens are never targets. Throws
/// InputError where images and placeholders do not match.
at::Tensor llava_loss(const Llava& llava, const std::vector<LlavaRow>& rows, double scale,
                      const ModelLossOptions& options = {});

/// For Trainer::step; `llava` and `rows` must live as long.
Trainer::Micro llava_micro(const Llava& llava, const std::vector<LlavaRow>& rows,
                           const ModelLossOptions& options = {});

}  // namespace ropescope
