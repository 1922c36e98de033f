// DeepSeek-V3 in GGUF files.
#pragma once

#include "ropescope/architectures/architecture.h"

namespace ropescope::families {

DecoderConfig deepseek_gguf_config(const GgufContents& contents, std::span<const std::byte> bytes,
                                   const std::string& what);
/// attn_k_b and attn_v_b become kv_b_proj.
GgufRole deepseek_gguf_role(const GgufTensor& tensor, const GgufMetadata& metadata, const std::string& what);

}  // namespace ropescope::families
