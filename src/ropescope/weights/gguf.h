// GGUF files, versions 2 and 3 (llama.cpp's container): metadata and quantised tensors.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "ropescope/weights/checkpoint.h"

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

/// The tensors of a GGUF file with the file's own names and row order.
std::unique_ptr<Checkpoint> open_gguf_file(const std::filesystem::path& path);

}  // namespace ropescope
