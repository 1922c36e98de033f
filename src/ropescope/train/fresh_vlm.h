// A vision-language model made of a language model and a vision tower that have never met: the start of the
// pretraining stage. The tower decides which: CLIP or SigLIP give LLaVA-NeXT, SigLIP 2 NaFlex gives the model of DIPE's
// experiments (architectures/vlm_families/naflex.cpp).
//   connector     weights and biases uniform in +-1/sqrt(in), as a linear layer of PyTorch begins; its norm 1 and 0
//   image_newline normal, standard deviation 1/sqrt(C)
// NaFlex: half of the tower's patch weights for each of the two frames that a patch has, so that a still picture, which
// fills both, is seen as before; the tower's last norm and its pooling head are left out; position ids of the decoder in
// three chunks, 2 : 3 : 3 (heads of 128: 16, 24, 24).
// Sources: LLaVA-NeXT's initialize_vision_modules; DIPE (arXiv 2603.10863).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "ropescope/inputs/picture_reader.h"
#include "ropescope/models/vlm.h"
#include "ropescope/train/checkpoints.h"

namespace ropescope {

struct FreshVlm {
  Vlm vlm;
  /// config.json and the language model's tokenizer; LLaVA-NeXT: in the original form, the tower's config.json below
  /// vision_tower/; NaFlex: preprocessor_config.json.
  std::vector<ModelFile> files;
  std::optional<PreprocessSettings> anyres;  ///< of LLaVA-NeXT
  std::optional<MediaSettings> native;       ///< of NaFlex
};

/// Whether a tower's config.json is SigLIP 2 NaFlex's.
bool is_naflex_tower(const Json& config);

/// `decoder`: a folder with config.json; `tower`: a CLIP, SigLIP or SigLIP 2 NaFlex folder. Numbers depend on `seed` only.
/// Throws InputError, UnsupportedModel for a NaFlex tower with another language model than Qwen2's.
FreshVlm make_fresh_vlm(const std::filesystem::path& decoder, const std::filesystem::path& tower,
                        uint64_t seed, const LoadOptions& options);

}  // namespace ropescope
