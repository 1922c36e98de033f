// Losses of a vision-language model over rows with pictures, under any position encoding.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ropescope/models/vlm.h"
#include "ropescope/train/conversation.h"
#include "ropescope/train/text_model.h"

namespace ropescope {

/// A conversation and its pictures, in the order of their placeholders.
struct VlmRow {
  std::string name;
  /// All placeholders of a picture are there, and what its family writes between them; or, of a picture that needs no
  /// text between its runs, one placeholder or kImageId stands for all.
  LabeledIds text;
  std::vector<MediaItem> items;
};

/// All parameters of the model by the names of vlm_slots, made trainable; a tied output matrix stays tied.
std::vector<Parameter> make_trainable(Vlm& vlm, const std::vector<std::string>& trained,
                                      const std::vector<std::string>& frozen, bool copy = true);

/// What a pass works with: the adapters' matrices in place of the decoder's.
Vlm with_adapters(const Vlm& vlm, const ModelLossOptions& options);

/// The sum over the rows' targets of the negative log-likelihood, times `scale`. Every row has a layout, and
/// so positions, of its own; rows go together as vlm_batch.h says. Tokens of pictures are never targets. Throws
/// InputError where pictures and placeholders do not match.
at::Tensor vlm_loss(const Vlm& vlm, const std::vector<VlmRow>& rows, double scale,
                    const ModelLossOptions& options = {});

/// For Trainer::step; `vlm` and `rows` must live as long.
Trainer::Micro vlm_micro(const Vlm& vlm, const std::vector<VlmRow>& rows,
                         const ModelLossOptions& options = {});

}  // namespace ropescope
