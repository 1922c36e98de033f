// Tensors as they lie in a mapped file, and the one Checkpoint that safetensors and PyTorch files share.
// Every reader checks offsets and sizes when it opens a file; what is stored here can be taken without
// reading outside the map.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ropescope/weights/checkpoint.h"

namespace ropescope {

/// A whole file in memory. `owner` keeps `bytes` alive (a MappedFile; empty when the caller does, as in
/// tests).
struct FileBytes {
  std::filesystem::path path;  ///< names the file in errors
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;
};

/// Maps `path`. Throws InputError.
FileBytes map_file(const std::filesystem::path& path);

/// The first `count` bytes as text; fewer where there are no more.
inline std::string_view first_bytes(std::span<const std::byte> bytes, size_t count) {
  return {reinterpret_cast<const char*>(bytes.data()), std::min(bytes.size(), count)};
}

/// Most dimensions of a tensor: LibTorch's own limit.
inline constexpr size_t kMaxDimensions = 64;

/// A stored element type.
struct StoredType {
  std::string name;                    ///< "F32", "BF16", ... (safetensors' names)
  uint64_t bits = 0;                   ///< of one element
  std::optional<at::ScalarType> type;  ///< empty: known, but LibTorch cannot widen it
};

/// By safetensors name ("BF16"); nullptr if unknown.
const StoredType* find_stored_type(const std::string& name);
/// By LibTorch type; nullptr if unknown.
const StoredType* find_stored_type(at::ScalarType type);

/// Where the elements of one tensor lie: every element that sizes and strides reach lies inside `elements`,
/// which starts at the tensor's first element (checked by the reader).
struct StoredTensor {
  TensorInfo info;
  const StoredType* type = nullptr;
  std::vector<int64_t> strides;  ///< in elements; empty: contiguous
  std::span<const std::byte> elements;
  std::shared_ptr<const void> owner;
  /// Set for deflated PyTorch records: `elements` is then the compressed storage, and the tensor starts at
  /// `inflated_offset` of its `inflated_bytes` bytes.
  std::optional<uint64_t> inflated_bytes;
  uint64_t inflated_offset = 0;
};

/// elements of `shape`, or nothing when a dimension is negative or the product does not fit in int64.
std::optional<int64_t> count_elements(const std::vector<int64_t>& shape);

/// A Checkpoint over tensors of one or several files. Throws InputError if a name occurs twice.
std::unique_ptr<Checkpoint> make_checkpoint(std::string container, std::vector<std::filesystem::path> files,
                                            std::vector<StoredTensor> tensors);

}  // namespace ropescope
