#include "ropescope/weights/stored_tensor.h"

#include <algorithm>
#include <array>
#include <utility>

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/util/Exception.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/core/nearest_name.h"
#include "ropescope/weights/loading_memory.h"
#include "ropescope/weights/zip_archive.h"

namespace ropescope {

namespace fs = std::filesystem;

FileBytes map_file(const fs::path& path) {
  auto file = std::make_shared<MappedFile>(path);
  const auto bytes = file->bytes();
  return {path, bytes, std::move(file)};
}

namespace {

const std::array<StoredType, 23>& stored_types() {
  static const std::array<StoredType, 23> types = {{
      {"F32", 32, at::kFloat},
      {"F16", 16, at::kHalf},
      {"BF16", 16, at::kBFloat16},
      {"F64", 64, at::kDouble},
      {"I64", 64, at::kLong},
      {"I32", 32, at::kInt},
      {"I16", 16, at::kShort},
      {"I8", 8, at::kChar},
      {"U8", 8, at::kByte},
      {"BOOL", 8, at::kBool},
      {"U16", 16, at::kUInt16},
      {"U32", 32, at::kUInt32},
      {"U64", 64, at::kUInt64},
      {"F8_E4M3", 8, at::kFloat8_e4m3fn},
      {"F8_E5M2", 8, at::kFloat8_e5m2},
      {"F8_E4M3FNUZ", 8, at::kFloat8_e4m3fnuz},
      {"F8_E5M2FNUZ", 8, at::kFloat8_e5m2fnuz},
      {"F8_E8M0", 8, at::kFloat8_e8m0fnu},
      {"C64", 64, std::nullopt},
      {"C128", 128, std::nullopt},
      {"F4", 4, std::nullopt},
      {"F6_E2M3", 6, std::nullopt},
      {"F6_E3M2", 6, std::nullopt},
  }};
  return types;
}

class StoredCheckpoint final : public Checkpoint {
 public:
  StoredCheckpoint(std::string container, std::vector<fs::path> files, std::vector<StoredTensor> tensors)
      : container_(std::move(container)), files_(std::move(files)), stored_(std::move(tensors)) {
    std::sort(stored_.begin(), stored_.end(),
              [](const StoredTensor& a, const StoredTensor& b) { return a.info.name < b.info.name; });
    infos_.reserve(stored_.size());
    for (StoredTensor& stored : stored_) {
      if (!infos_.empty() && infos_.back().name == stored.info.name) {
        throw InputError("{}: tensor \"{}\" is there twice (also in {})", stored.info.file, stored.info.name,
                         infos_.back().file);
      }
      infos_.push_back(std::move(stored.info));
    }
  }

  const std::vector<TensorInfo>& tensors() const override { return infos_; }
  std::string container() const override { return container_; }
  std::vector<fs::path> files() const override { return files_; }

  at::Tensor take(const std::string& name, at::ScalarType dtype) const override {
    return convert(name, std::nullopt, dtype,
                   [&](const at::Tensor& stored) { return stored.to(dtype).contiguous(); });
  }

  at::Tensor take_rows(const std::string& name, int64_t first, int64_t count,
                       at::ScalarType dtype) const override {
    return convert(name, Rows{first, count}, dtype,
                   [&](const at::Tensor& stored) { return stored.to(dtype).contiguous(); });
  }

  bool gives_rows(const std::string& name) const override {
    const TensorInfo* info = find(name);
    return info != nullptr && !stored_[static_cast<size_t>(info - infos_.data())].inflated_bytes;
  }

  void read(const std::string& name, const at::Tensor& target) const override {
    convert(name, std::nullopt, target.scalar_type(), [&](const at::Tensor& stored) {
      if (stored.sizes() != target.sizes()) throw InternalError("read: a target of another shape");
      return target.copy_(stored);
    });
  }

 private:
  struct Rows {
    int64_t first, count;
  };

  /// use(the stored tensor, or rows of it), whose failures are put in words.
  template <typename Use>
  at::Tensor convert(const std::string& name, const std::optional<Rows>& rows, at::ScalarType dtype,
                     const Use& use) const {
    const TensorInfo* info = find(name);
    if (info == nullptr) {
      std::vector<std::string> names;
      for (const TensorInfo& other : infos_) names.push_back(other.name);
      const std::string near = nearest_name(name, names);
      throw InputError("{}: there is no tensor \"{}\"{}", place(), name,
                       near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near));
    }
    try {
      return use(view(stored_[static_cast<size_t>(info - infos_.data())], *info, rows));
    } catch (const c10::Error& error) {
      if (is_out_of_memory(error)) throw;
      throw InputError("{}: tensor \"{}\": LibTorch cannot turn {} into {} ({})", info->file, name,
                       info->dtype, c10::toString(dtype), error.what_without_backtrace());
    }
  }

  static at::Tensor view(const StoredTensor& stored, const TensorInfo& info,
                         const std::optional<Rows>& rows) {
    if (!stored.type->type) {
      throw InputError(
          "{}: tensor \"{}\" is stored as {}, which cannot be converted. Try: save the model as "
          "float32, bfloat16 or float16.",
          info.file, info.name, info.dtype);
    }
    const at::ScalarType type = *stored.type->type;
    std::vector<int64_t> shape = info.shape;
    int64_t skipped = 0;  // elements before the first
    if (rows) {
      if (shape.empty() || rows->first < 0 || rows->count < 0 || rows->first > shape[0] - rows->count) {
        throw InternalError("{}: tensor \"{}\": expected rows inside it, found {} from {} on", info.file,
                            info.name, rows->count, rows->first);
      }
      const int64_t total = *count_elements(shape);
      skipped = rows->first *
                (!stored.strides.empty() ? stored.strides[0] : total / std::max<int64_t>(1, shape[0]));
      shape[0] = rows->count;
    }
    const int64_t count = *count_elements(shape);
    if (count == 0) return at::empty(shape, type);

    std::span<const std::byte> elements = stored.elements;
    std::shared_ptr<const void> owner = stored.owner;
    if (stored.inflated_bytes) {
      auto inflated = std::make_shared<std::vector<std::byte>>(
          inflate_record(elements, *stored.inflated_bytes, info.file + ": " + info.name));
      elements = std::span<const std::byte>(*inflated).subspan(stored.inflated_offset);
      owner = std::move(inflated);
    }
    const uint64_t width = stored.type->bits / 8;
    elements = elements.subspan(static_cast<uint64_t>(skipped) * width);
    if (stored.strides.empty()) elements = elements.first(static_cast<uint64_t>(count) * width);
    if (reinterpret_cast<uintptr_t>(elements.data()) % width != 0) {
      auto aligned = std::make_shared<std::vector<std::byte>>(elements.begin(), elements.end());
      elements = *aligned;
      owner = std::move(aligned);
    }
    // from_blob wants a mutable pointer; nothing writes through it (the header's convention).
    void* data = const_cast<std::byte*>(elements.data());
    const auto options = at::TensorOptions().dtype(type);
    const auto release = [owner](void*) mutable { owner.reset(); };
    return stored.strides.empty() ? at::from_blob(data, shape, release, options)
                                  : at::from_blob(data, shape, stored.strides, release, options);
  }

  std::string place() const {
    if (files_.size() == 1) return files_[0].string();
    return files_.empty() ? container_ : files_[0].parent_path().string();
  }

  std::string container_;
  std::vector<fs::path> files_;
  std::vector<StoredTensor> stored_;  // sorted by name; what they say of themselves is in infos_
  std::vector<TensorInfo> infos_;
};

}  // namespace

const StoredType* find_stored_type(const std::string& name) {
  for (const StoredType& type : stored_types()) {
    if (type.name == name) return &type;
  }
  return nullptr;
}

const StoredType* find_stored_type(at::ScalarType scalar) {
  for (const StoredType& type : stored_types()) {
    if (type.type == scalar) return &type;
  }
  return nullptr;
}

std::optional<int64_t> count_elements(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  bool empty = false;
  // A zero dimension does not excuse an overflow of the others: LibTorch multiplies strides from them.
  for (const int64_t size : shape) {
    if (size < 0) return std::nullopt;
    if (size == 0) {
      empty = true;
    } else if (__builtin_mul_overflow(count, size, &count)) {
      return std::nullopt;
    }
  }
  return empty ? 0 : count;
}

std::unique_ptr<Checkpoint> make_checkpoint(std::string container, std::vector<fs::path> files,
                                            std::vector<StoredTensor> tensors) {
  return std::make_unique<StoredCheckpoint>(std::move(container), std::move(files), std::move(tensors));
}

}  // namespace ropescope
