// safetensors files: an 8-byte little-endian header length, a JSON header {"name": {"dtype", "shape",
// "data_offsets": [begin, end]}, "__metadata__": {text: text}}, then the tensors' bytes without a gap.
#pragma once

#include <cstdint>
#include <vector>

#include "ropescope/weights/stored_tensor.h"

namespace ropescope {

/// A longer header is refused, as the reference reader does.
inline constexpr uint64_t kMostSafetensorsHeader = 100'000'000;

/// The tensors of a safetensors file; nothing is copied or converted. Throws InputError for whatever the
/// reference reader refuses (lengths beyond the file, unknown dtypes, byte ranges that overlap, leave holes,
/// run backwards or disagree with dtype x shape, bytes after the last tensor) and for duplicate names.
std::vector<StoredTensor> parse_safetensors(const FileBytes& file);

/// True if the file begins like a safetensors file: a plausible header length, then '{'.
bool looks_like_safetensors(std::span<const std::byte> bytes);

}  // namespace ropescope
