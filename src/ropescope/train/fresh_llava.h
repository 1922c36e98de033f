// A LLaVA-NeXT model made of a language model and a vision tower that have never met: the start of the
// pretraining stage.
//   projector     weights and biases uniform in +-1/sqrt(in), as a linear layer of PyTorch begins
//   image_newline normal, standard deviation 1/sqrt(C)
// Source: LLaVA-NeXT's initialize_vision_modules.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "ropescope/models/llava.h"
#include "ropescope/train/checkpoints.h"
#include "ropescope/vision/preprocess.h"

namespace ropescope {

struct FreshLlava {
  Llava llava;
  /// config.json in the original form, the language model's tokenizer, the tower's config.json below
  /// vision_tower/.
  std::vector<ModelFile> files;
  PreprocessSettings preprocess;
};

/// `decoder`: a folder with config.json; `tower`: a CLIP or SigLIP folder. Numbers depend on `seed` only.
/// Throws InputError.
FreshLlava make_fresh_llava(const std::filesystem::path& decoder, const std::filesystem::path& tower,
                            uint64_t seed, const LoadOptions& options);

}  // namespace ropescope
