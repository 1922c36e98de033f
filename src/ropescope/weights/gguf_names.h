// From a GGUF file's tensor names and row order to those of the Hugging Face form.
#pragma once

#include <cstdint>
#include <string>

#include "ropescope/weights/gguf.h"

namespace ropescope {

/// What a tensor of a GGUF file is in the Hugging Face form.
struct GgufRole {
  std::string name;
  /// Heads whose rows were reordered so that rotated pairs lie side by side; 0: the rows are in place.
  int64_t permuted_heads = 0;
};

/// True for the architectures whose names and row order are known: "llama", "qwen2".
bool gguf_architecture_is_known(const std::string& architecture);

/// `architecture` is a known one. A tensor that it does not have keeps its name. Throws InputError if a row
/// order depends on metadata that is missing or does not fit the tensor.
GgufRole gguf_role(const GgufTensor& tensor, const std::string& architecture, const GgufMetadata& metadata,
                   const std::string& what);

/// Row of the file that holds row `row` of the half-split form, for heads of `head_rows` rows: the file has
/// channel i of a head's first half at 2 i and its partner from the second half at 2 i + 1.
inline int64_t permuted_row(int64_t row, int64_t head_rows) {
  const int64_t within = row % head_rows;
  const int64_t half = head_rows / 2;
  return row - within + 2 * (within % half) + within / half;
}

}  // namespace ropescope
