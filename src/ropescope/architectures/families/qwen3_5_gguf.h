// Qwen3.5 in GGUF files.
#pragma once

#include "ropescope/architectures/architecture.h"

namespace ropescope::families {

DecoderConfig qwen3_5_gguf_config(const GgufContents& contents, std::span<const std::byte> bytes,
                                  const std::string& what);
/// Value heads are put back to the order of their key heads, and numbers to what they were.
GgufRole qwen3_5_gguf_role(const GgufTensor& tensor, const GgufMetadata& metadata, const std::string& what);

}  // namespace ropescope::families
