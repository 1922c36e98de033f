// From a GGUF file's tensor names, row order and numbers to those of the Hugging Face form. Experts come out stacked,
// [experts, out, in], under `experts_prefix`: "model.layers.3.mlp.experts.gate_proj.weight", .up_proj, .down_proj (and
// .bias), or as Gemma 4 has them in both forms.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "ropescope/weights/gguf.h"

namespace ropescope {

/// The role of a tensor in a file of any architecture (its metadata names it): its own name where that is not a known one.
GgufRole role_in_hugging_face_form(const GgufTensor& tensor, const GgufMetadata& metadata,
                                   const std::string& what);

// For families.

/// A name within a block, with or without what stands behind the last dot: "attn_q" or "attn_sinks.weight".
struct GgufName {
  std::string_view gguf, hugging_face;
};

/// By the family's own names, then by those that all have (Llama's); a tensor that neither has keeps its name.
GgufRole gguf_named(const GgufTensor& tensor, std::span<const GgufName> own = {});

/// Llama's: rows of attn_q and attn_k are put back to half-split. Throws InputError if the metadata's heads do not fit.
GgufRole gguf_llama_role(const GgufTensor& tensor, const GgufMetadata& metadata, const std::string& what);
/// No family's own names, rows in place.
GgufRole gguf_plain_role(const GgufTensor& tensor, const GgufMetadata& metadata, const std::string& what);

/// Norms that hold 1 + w.
void subtract_one(GgufRole& role);

}  // namespace ropescope
