// GGML's stored types: plain numbers and blocks of quantised numbers, widened to float32.
// Layouts and the order of products are those of llama.cpp's gguf package, so that results are equal bit for
// bit. Blocks hold 32 numbers (Q4_0 ... Q8_0, MXFP4), 64 (NVFP4) or 256 (K types: sixteen or eight sub-blocks with scales of
// their own).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include <c10/core/ScalarType.h>

namespace ropescope {

/// Values are those of the file format.
enum class GgmlType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kI8 = 24,
  kI16 = 25,
  kI32 = 26,
  kI64 = 27,
  kF64 = 28,
  kBF16 = 30,
  kMXFP4 = 39,
  kNVFP4 = 40,
};

/// Widens `count` numbers (a multiple of the type's block) from `source` to `target`. Neither has to be
/// aligned beyond its element type's needs: `source` may lie anywhere in a file.
using GgmlDecoder = void (*)(const std::byte* source, float* target, int64_t count);

struct GgmlTypeTraits {
  const char* name;       ///< "Q4_K"
  int64_t block_numbers;  ///< numbers in a block
  int64_t block_bytes;
  GgmlDecoder decode;                         ///< nullptr: the size is known but the content cannot be read
  std::optional<at::ScalarType> scalar_type;  ///< of plain numbers
};

/// nullptr for a type that the format does not have. Types whose size alone is known (IQ4_XS, ...) are
/// listed too, so that such files can be described.
const GgmlTypeTraits* ggml_type_traits(uint32_t type);
inline const GgmlTypeTraits* ggml_type_traits(GgmlType type) {
  return ggml_type_traits(static_cast<uint32_t>(type));
}

}  // namespace ropescope
