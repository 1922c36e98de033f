// What a model folder holds, and the configuration of one that sees, before any weight is read.
#pragma once

#include <cstdint>
#include <filesystem>

#include "ropescope/architectures/vlm_config.h"

namespace ropescope {

enum class ModelKind { kDecoder, kVlm, kVisionTower };

/// By config.json of a folder (or of the folder of a weight file); anything else is taken for a decoder,
/// whose reader says what is wrong.
ModelKind model_kind(const std::filesystem::path& model);

/// Whether a folder holds LLaVA-NeXT in either of its forms.
bool is_llava_next(const std::filesystem::path& model);

/// Of a folder of kind kVlm. Throws InputError, UnsupportedModel.
VlmConfig read_vlm_config(const std::filesystem::path& folder);

}  // namespace ropescope
