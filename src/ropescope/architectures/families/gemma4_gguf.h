// Gemma 4 in GGUF files.
#pragma once

#include "ropescope/architectures/architecture.h"

namespace ropescope::families {

DecoderConfig gemma4_gguf_config(const GgufContents& contents, std::span<const std::byte> bytes,
                                 const std::string& what);
GgufRole gemma4_gguf_role(const GgufTensor& tensor, const GgufMetadata& metadata, const std::string& what);

}  // namespace ropescope::families
