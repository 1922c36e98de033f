// Tensors of a model that are kept, exchanged and updated together: one row of numbers cut into equal slices,
// one a rank.
//   full   [world n]   the tensors one after the other, each at a multiple of 16 numbers, zeros in between
//   slice  [n]         of rank r: full[r n .. (r + 1) n)
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ropescope {

class SpareMemory;

class FlatUnit {
 public:
  struct Entry {
    std::string name;
    at::Tensor tensor;  ///< the model's own handle
    int64_t offset = 0;
  };
  /// Where the numbers of a unit are between uses.
  enum class Storage {
    kTensors,  ///< in storage of their own: the unit has gradients only
    kWhole,    ///< all of them on every rank
    kSlice,    ///< this rank's slice; all of them only while they are used, perhaps in another type
  };

  /// Takes over the storage of `tensors` (all of one type and device) as `storage` says: handles to them stay
  /// good, but under kSlice they hold numbers only between gather and release, and are of the type `used`.
  FlatUnit(std::string name, const std::vector<std::pair<std::string, at::Tensor>>& tensors, bool trained,
           Storage storage, int64_t rank, int64_t world, at::ScalarType used);

  const std::string& name() const { return name_; }
  const std::vector<Entry>& entries() const { return entries_; }
  bool trained() const { return trained_; }
  Storage storage() const { return storage_; }
  int64_t size() const { return size_; }                  ///< of all ranks' slices
  int64_t slice_size() const { return slice_size_; }      ///< n
  at::TensorOptions options() const { return options_; }  ///< of what is kept: slices, sums of gradients

  /// kWhole, or kSlice between allocate() and free(). [size] in the type that is used.
  const at::Tensor& full() const { return full_; }
  const at::Tensor& slice() const { return slice_; }
  /// Room for all numbers, which are not there yet.
  void allocate(const SpareMemory& memory);
  void free();
  bool allocated() const { return allocated_; }

  /// Zero what of `values` [size] no entry is in.
  void clear_gaps(const at::Tensor& values) const;
  /// [size] with the entries' shapes cut out of it.
  at::Tensor part(const at::Tensor& values, size_t entry) const;
  /// What of `values` [size] is this rank's, [n].
  at::Tensor own_part(const at::Tensor& values) const {
    return values.narrow(0, rank_ * slice_size_, slice_size_);
  }
  /// What of an entry lies in this rank's slice, [numbers]; perhaps none. `values` [n].
  at::Tensor piece(const at::Tensor& values, size_t entry) const;
  /// Where that piece starts in the entry, and how long it is.
  struct Range {
    int64_t first = 0, count = 0;
  };
  Range range(size_t entry) const;

 private:
  void use(at::ScalarType type);

  std::string name_;
  std::vector<Entry> entries_;
  bool trained_;
  Storage storage_;
  int64_t rank_, size_ = 0, slice_size_ = 0;
  at::TensorOptions options_;
  at::Tensor full_, slice_;
  bool allocated_ = true;
};

/// The part of a model that a tensor is gathered with, from its name: "model.layers.3", "...projector",
/// "model.embed_tokens", "lm_head"; empty for small tensors that stay with every rank (final norms and the
/// like).
std::string part_of(const std::string& tensor_name);
/// Whether a part is a layer of the decoder or of a vision tower.
bool is_layer_part(const std::string& part);

/// What a tensor, or a part, of a vision-language model belongs to, under the names of any family; a decoder alone has neither.
bool is_tower_tensor(const std::string& name);
bool is_connector_tensor(const std::string& name);

}  // namespace ropescope
