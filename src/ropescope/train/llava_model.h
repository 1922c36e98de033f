// The parameters of a LLaVA-NeXT model in the form that models/llava.h has, for training loops of one's own; `ropescope
// train` goes through vlm_model.h.
#pragma once

#include <string>
#include <vector>

#include "ropescope/models/llava.h"
#include "ropescope/train/text_model.h"

namespace ropescope {

/// All parameters of the model by transformers' names (llava_slots), made trainable; a tied output matrix
/// stays tied.
std::vector<Parameter> make_trainable(Llava& llava, const std::vector<std::string>& trained,
                                      const std::vector<std::string>& frozen, bool copy = true);

}  // namespace ropescope
