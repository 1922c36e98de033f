// A checkpoint: named tensors from untrusted files, whatever the container.
// Containers: safetensors (one file, or shards with an index), PyTorch zip archives (pytorch_model*.bin, one
// or shards with an index), GGUF. Files are mapped; a tensor is only converted when it is taken.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ropescope {

/// What a checkpoint says about one tensor, without its data.
struct TensorInfo {
  std::string name;
  std::string dtype;           ///< as stored: "F32", "F16", "BF16", "I64", "Q4_K", ...
  std::vector<int64_t> shape;  ///< outermost dimension first
  uint64_t bytes = 0;          ///< stored size
  std::string file;            ///< base name of the file that holds it
};

class Checkpoint {
 public:
  virtual ~Checkpoint() = default;

  /// All tensors, sorted by name. Names and row order are those of the Hugging Face form where the
  /// architecture is known (GGUF Llama q and k rows are put back into half-split order), else those of the
  /// file.
  virtual const std::vector<TensorInfo>& tensors() const = 0;

  /// A CPU tensor of `dtype`, contiguous, owning its memory or sharing the map's (when the stored form
  /// already is `dtype`, contiguous and aligned; such a tensor is read-only by convention). Throws InputError
  /// naming the tensor and the file if it is not there.
  virtual at::Tensor take(const std::string& name, at::ScalarType dtype) const = 0;

  /// The same of [first, first + count) along the outermost dimension, without widening the others: one of many
  /// matrices that lie in one tensor.
  virtual at::Tensor take_rows(const std::string& name, int64_t first, int64_t count,
                               at::ScalarType dtype) const {
    return take(name, dtype).narrow(0, first, count);
  }

  /// Whether take_rows reads no more than those rows.
  virtual bool gives_rows(const std::string& /*name*/) const { return false; }

  /// take(), into memory that is there: `target`, a contiguous CPU tensor of the tensor's shape, in its own type.
  virtual void read(const std::string& name, const at::Tensor& target) const;

  /// "safetensors", "pytorch", "gguf".
  virtual std::string container() const = 0;

  /// Files that make up the checkpoint (weights only), for provenance.
  virtual std::vector<std::filesystem::path> files() const = 0;

  /// nullptr if there is none.
  const TensorInfo* find(const std::string& name) const;
};

}  // namespace ropescope
