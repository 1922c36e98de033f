// GGUF files, versions 2 and 3 (llama.cpp's container): metadata and quantised tensors.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "ropescope/weights/checkpoint.h"
#include "ropescope/weights/ggml_blocks.h"
#include "ropescope/weights/stored_tensor.h"

namespace ropescope {

struct GgufArray;
/// One metadata value. Integers of every width are widened, floats too.
using GgufValue =
    std::variant<uint64_t, int64_t, double, bool, std::string, std::shared_ptr<const GgufArray>>;
/// Arrays keep one vector of their own element kind, so that a 150,000-token vocabulary stays compact.
struct GgufArray {
  std::variant<std::vector<uint64_t>, std::vector<int64_t>, std::vector<double>, std::vector<bool>,
               std::vector<std::string>, std::vector<std::shared_ptr<const GgufArray>>>
      values;
};

using GgufMetadata = std::map<std::string, GgufValue>;

/// One tensor of the file's table, checked: its bytes lie inside the file and overlap no other tensor's.
struct GgufTensor {
  std::string name;
  GgmlType type = GgmlType::kF32;
  std::vector<int64_t> shape;  ///< outermost dimension first (the file lists the fastest first)
  uint64_t offset = 0;         ///< from the start of the file
  uint64_t bytes = 0;
};

struct GgufContents {
  uint32_t version = 0;
  GgufMetadata metadata;
  std::vector<GgufTensor> tensors;  ///< in the file's order

  /// nullptr if there is none.
  const GgufTensor* find(const std::string& name) const;
};

/// Reads a whole file image: header, metadata, tensor table. No count or length is believed before it was
/// compared with the bytes that are left. Throws InputError naming `what`.
GgufContents parse_gguf(std::span<const std::byte> bytes, const std::string& what);

/// True if the file starts with "GGUF".
bool is_gguf_file(const std::filesystem::path& path);

/// Metadata only. Throws InputError.
GgufMetadata read_gguf_metadata(const std::filesystem::path& path);

/// Typed access; throws InputError naming `what` and the key. The _or forms take a default for an absent key.
int64_t gguf_integer(const GgufMetadata& metadata, const std::string& key, const std::string& what);
int64_t gguf_integer_or(const GgufMetadata& metadata, const std::string& key, int64_t fallback,
                        const std::string& what);
double gguf_number_or(const GgufMetadata& metadata, const std::string& key, double fallback,
                      const std::string& what);
bool gguf_bool_or(const GgufMetadata& metadata, const std::string& key, bool fallback,
                  const std::string& what);
std::string gguf_string(const GgufMetadata& metadata, const std::string& key, const std::string& what);
std::string gguf_string_or(const GgufMetadata& metadata, const std::string& key, const std::string& fallback,
                           const std::string& what);
const std::vector<std::string>& gguf_strings(const GgufMetadata& metadata, const std::string& key,
                                             const std::string& what);
/// Integer or bool arrays, widened.
std::vector<int64_t> gguf_integers(const GgufMetadata& metadata, const std::string& key,
                                   const std::string& what);

/// Any number array, widened.
std::vector<double> gguf_numbers(const GgufMetadata& metadata, const std::string& key,
                                 const std::string& what);

/// Absent key: nullopt. The architecture ("llama", "qwen2", ...) is the metadata's `general.architecture`.
std::optional<std::string> gguf_architecture(const GgufMetadata& metadata, const std::string& what);

/// The tensors of a GGUF file with the file's own names and row order.
std::unique_ptr<Checkpoint> open_gguf_file(const std::filesystem::path& path);

/// What a tensor of a GGUF file is in the Hugging Face form.
struct GgufRole {
  std::string name;
  /// Heads whose rows were reordered so that rotated pairs lie side by side; 0: the rows are in place.
  int64_t permuted_heads = 0;
  /// Makes the tensor of the Hugging Face form from what the file has, in float32; none: they are the same. Whoever sets
  /// it has checked that it fits the shapes.
  using Make = std::function<at::Tensor(const std::vector<at::Tensor>& stored)>;
  Make make = {};
  std::vector<int64_t> shape = {};  ///< of what `make` gives; empty: that of the file
  /// `parts` tensors of the file have one name, and are given to the `make` of the first in this order.
  int part = 0, parts = 1;
};

/// Throws InputError if the role depends on metadata that is missing or does not fit the tensor.
using GgufRoleOf = GgufRole (*)(const GgufTensor& tensor, const GgufMetadata& metadata,
                                const std::string& what);

/// The tensors of a GGUF file under the names, and in the row order, that `role_of` gives them; null: the file's own.
std::unique_ptr<Checkpoint> make_gguf_checkpoint(FileBytes file, GgufRoleOf role_of);

/// Row of the file that holds row `row` of the half-split form, for heads of `head_rows` rows: the file has
/// channel i of a head's first half at 2 i and its partner from the second half at 2 i + 1.
inline int64_t permuted_row(int64_t row, int64_t head_rows) {
  const int64_t within = row % head_rows;
  const int64_t half = head_rows / 2;
  return row - within + 2 * (within % half) + within / half;
}

}  // namespace ropescope
