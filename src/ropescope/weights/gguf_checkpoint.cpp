// GGUF tensors as a Checkpoint.
#include <algorithm>
#include <cstring>
#include <unordered_map>
#include <utility>

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/nearest_name.h"
#include "ropescope/core/parallel.h"
#include "ropescope/weights/gguf.h"
#include "ropescope/weights/stored_tensor.h"

namespace ropescope {

namespace fs = std::filesystem;

namespace {

/// Numbers that one thread widens before it asks for more work (a fifth of a millisecond), and that are worth
/// starting a thread for.
constexpr int64_t kChunkNumbers = 1 << 16;
constexpr int64_t kNumbersWorthAThread = 1 << 20;

struct Entry {
  const GgufTensor* tensor = nullptr;
  int64_t permuted_heads = 0;
  GgufRole::Make make = {};
  std::vector<int64_t> shape = {};             ///< of what `make` gives
  std::vector<const GgufTensor*> others = {};  ///< further tensors that it is made from
};

/// A tensor as rows of blocks.
struct Rows {
  int64_t count = 0;      ///< rows
  int64_t numbers = 0;    ///< in a row
  int64_t bytes = 0;      ///< of a stored row
  int64_t head_rows = 0;  ///< > 0: rows of a head whose order is to be undone

  int64_t source(int64_t row) const { return head_rows > 0 ? permuted_row(row, head_rows) : row; }
};

Rows rows_of(const Entry& entry, const GgmlTypeTraits& traits) {
  const auto& shape = entry.tensor->shape;
  Rows rows;
  // A bias is one number a row where its order is to be undone.
  const bool vector = shape.size() == 1 && entry.permuted_heads > 0;
  rows.numbers = shape.empty() || vector ? 1 : shape.back();
  rows.bytes = rows.numbers / traits.block_numbers * traits.block_bytes;
  if (rows.bytes > 0) rows.count = static_cast<int64_t>(entry.tensor->bytes) / rows.bytes;
  if (entry.permuted_heads > 0) rows.head_rows = shape.front() / entry.permuted_heads;
  return rows;
}

/// Calls row(target row, source bytes) for all rows.
template <typename Row>
void for_each_row(const Rows& rows, const std::byte* data, const Row& row) {
  const int64_t numbers = std::max<int64_t>(1, rows.numbers);
  const int64_t threads =
      std::min<int64_t>(at::get_num_threads(), rows.count / (kNumbersWorthAThread / numbers + 1));
  const int64_t chunk = std::max<int64_t>(1, kChunkNumbers / numbers);
  parallel_chunks(rows.count, chunk, static_cast<int>(threads), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) row(i, data + rows.source(i) * rows.bytes);
  });
}

void widen(const Rows& rows, const std::byte* data, GgmlDecoder decode, float* target) {
  for_each_row(rows, data, [&](int64_t row, const std::byte* source) {
    decode(source, target + row * rows.numbers, rows.numbers);
  });
}

/// Through a float32 row, so that the float32 tensor never exists as a whole.
template <typename Narrow>
void widen_and_narrow(const Rows& rows, const std::byte* data, GgmlDecoder decode, Narrow* target) {
  for_each_row(rows, data, [&](int64_t row, const std::byte* source) {
    thread_local std::vector<float> wide;
    wide.resize(static_cast<size_t>(rows.numbers));
    decode(source, wide.data(), rows.numbers);
    for (int64_t i = 0; i < rows.numbers; ++i) {
      target[row * rows.numbers + i] = Narrow(wide[static_cast<size_t>(i)]);
    }
  });
}

class GgufCheckpoint final : public Checkpoint {
 public:
  GgufCheckpoint(FileBytes file, GgufRoleOf role_of)
      : file_(std::move(file)), what_(file_.path.string()), contents_(parse_gguf(file_.bytes, what_)) {
    if (const int64_t parts = gguf_integer_or(contents_.metadata, "split.count", 1, what_); parts > 1) {
      throw InputError("{}: one of {} parts of a split GGUF file. Try: join them (gguf-split --merge).",
                       what_, parts);
    }
    for (const GgufTensor& tensor : contents_.tensors) {
      add(tensor, role_of == nullptr ? GgufRole{tensor.name} : role_of(tensor, contents_.metadata, what_));
    }
    for (const auto& [name, parts] : parts_) add_joined(name, parts);
    std::sort(infos_.begin(), infos_.end(),
              [](const TensorInfo& a, const TensorInfo& b) { return a.name < b.name; });
  }

  const std::vector<TensorInfo>& tensors() const override { return infos_; }
  std::string container() const override { return "gguf"; }
  std::vector<fs::path> files() const override { return {file_.path}; }

  at::Tensor take(const std::string& name, at::ScalarType dtype) const override {
    const auto found = entries_.find(name);
    if (found == entries_.end()) fail_missing(name);
    const Entry& entry = found->second;
    if (!entry.make) return take_stored(entry, name, dtype);
    std::vector<at::Tensor> stored = {take_stored(entry, name, at::kFloat)};
    for (const GgufTensor* other : entry.others)
      stored.push_back(take_stored(Entry{other}, name, at::kFloat));
    return entry.make(stored).contiguous().to(dtype);
  }

  bool gives_rows(const std::string& name) const override {
    const auto found = entries_.find(name);
    return found != entries_.end() && has_rows(found->second);
  }

  void read(const std::string& name, const at::Tensor& target) const override {
    const auto found = entries_.find(name);
    const GgmlTypeTraits* traits =
        found == entries_.end() ? nullptr : ggml_type_traits(found->second.tensor->type);
    const bool as_stored = traits != nullptr && traits->decode != nullptr && !found->second.make &&
                           found->second.tensor->shape == target.sizes().vec();
    if (as_stored && traits->scalar_type && found->second.permuted_heads == 0) {
      target.copy_(take_plain(found->second, *traits->scalar_type, *traits->scalar_type));
    } else if (as_stored && widens_to(target.scalar_type())) {  // block by block, to where it belongs
      widen_into(found->second, *traits, target);
    } else {
      target.copy_(take(name, target.scalar_type()));
    }
  }

  at::Tensor take_rows(const std::string& name, int64_t first, int64_t count,
                       at::ScalarType dtype) const override {
    const auto found = entries_.find(name);
    if (found == entries_.end()) fail_missing(name);
    const Entry& entry = found->second;
    const auto& shape = entry.tensor->shape;
    if (!has_rows(entry)) return take(name, dtype).narrow(0, first, count);
    if (first < 0 || count < 0 || first > shape[0] - count) {
      throw InternalError("{}: tensor \"{}\": expected rows inside it, found {} from {} on", what_, name,
                          count, first);
    }
    GgufTensor rows = *entry.tensor;
    const uint64_t row_bytes = shape[0] == 0 ? 0 : rows.bytes / static_cast<uint64_t>(shape[0]);
    rows.offset += static_cast<uint64_t>(first) * row_bytes;
    rows.bytes = static_cast<uint64_t>(count) * row_bytes;
    rows.shape[0] = count;
    return take_stored(Entry{&rows}, name, dtype);
  }

 private:
  /// A vector of blocks cannot be cut anywhere, and what is made from a tensor needs it whole.
  static bool has_rows(const Entry& entry) {
    return !entry.make && entry.permuted_heads == 0 && entry.tensor->shape.size() >= 2;
  }

  void add(const GgufTensor& tensor, const GgufRole& role) {
    if (role.parts > 1) {
      auto& parts = parts_[role.name];
      parts.resize(static_cast<size_t>(role.parts));
      auto& place = parts.at(static_cast<size_t>(role.part));
      if (place.first != nullptr) throw InputError("{}: two tensors stand for \"{}\"", what_, role.name);
      place = {&tensor, role};
      return;
    }
    add_entry(role.name, Entry{&tensor, role.permuted_heads, role.make, role.shape});
  }

  /// A tensor whose parts lie apart in the file.
  void add_joined(const std::string& name, const std::vector<std::pair<const GgufTensor*, GgufRole>>& parts) {
    for (const auto& part : parts) {
      if (part.first == nullptr) {
        throw InputError("{}: \"{}\" is made from {} tensors, of which the file has not all", what_, name,
                         parts.size());
      }
    }
    Entry entry{parts.front().first, 0, parts.front().second.make, parts.front().second.shape};
    for (size_t i = 1; i < parts.size(); ++i) entry.others.push_back(parts[i].first);
    add_entry(name, std::move(entry));
  }

  void add_entry(const std::string& name, Entry entry) {
    const GgufTensor& tensor = *entry.tensor;
    uint64_t bytes = tensor.bytes;
    for (const GgufTensor* other : entry.others) bytes += other->bytes;
    infos_.push_back({name, ggml_type_traits(tensor.type)->name,
                      entry.shape.empty() ? tensor.shape : entry.shape, bytes,
                      file_.path.filename().string()});
    if (!entries_.emplace(name, std::move(entry)).second) {
      throw InputError("{}: two tensors stand for \"{}\"", what_, name);
    }
  }

  at::Tensor take_stored(const Entry& entry, const std::string& name, at::ScalarType dtype) const {
    const GgmlTypeTraits& traits = *ggml_type_traits(entry.tensor->type);
    if (traits.decode == nullptr) {
      throw InputError(
          "{}: tensor \"{}\": {} cannot be read. Try: another quantisation, such as Q4_K_M or Q8_0.", what_,
          name, traits.name);
    }
    if (traits.scalar_type && entry.permuted_heads == 0) return take_plain(entry, *traits.scalar_type, dtype);
    return take_widened(entry, traits, dtype);
  }

  const std::byte* data_of(const Entry& entry) const { return file_.bytes.data() + entry.tensor->offset; }

  at::Tensor take_plain(const Entry& entry, at::ScalarType stored, at::ScalarType dtype) const {
    const auto& shape = entry.tensor->shape;
    const std::byte* data = data_of(entry);
    if (entry.tensor->bytes == 0) return at::empty(shape, dtype);
    if (reinterpret_cast<uintptr_t>(data) % c10::elementSize(stored) != 0) {
      at::Tensor copy = at::empty(shape, stored);
      std::memcpy(copy.mutable_data_ptr(), data, entry.tensor->bytes);
      return copy.to(dtype);
    }
    // from_blob wants a mutable pointer; by the interface's convention nobody writes through it.
    return at::from_blob(
               const_cast<std::byte*>(data), shape, [owner = file_.owner](void*) mutable { owner.reset(); },
               at::TensorOptions().dtype(stored))
        .to(dtype);
  }

  static bool widens_to(at::ScalarType dtype) {
    return dtype == at::kFloat || dtype == at::kHalf || dtype == at::kBFloat16;
  }

  at::Tensor take_widened(const Entry& entry, const GgmlTypeTraits& traits, at::ScalarType dtype) const {
    const at::Tensor tensor = at::empty(entry.tensor->shape, widens_to(dtype) ? dtype : at::kFloat);
    widen_into(entry, traits, tensor);
    return tensor.to(dtype);
  }

  void widen_into(const Entry& entry, const GgmlTypeTraits& traits, const at::Tensor& target) const {
    const Rows rows = rows_of(entry, traits);
    const std::byte* data = data_of(entry);
    if (target.scalar_type() == at::kHalf) {
      widen_and_narrow(rows, data, traits.decode, target.mutable_data_ptr<at::Half>());
    } else if (target.scalar_type() == at::kBFloat16) {
      widen_and_narrow(rows, data, traits.decode, target.mutable_data_ptr<at::BFloat16>());
    } else {
      widen(rows, data, traits.decode, target.mutable_data_ptr<float>());
    }
  }

  [[noreturn]] void fail_missing(const std::string& name) const {
    std::vector<std::string> names;
    for (const TensorInfo& info : infos_) names.push_back(info.name);
    const std::string near = nearest_name(name, names);
    throw InputError("{}: there is no tensor \"{}\"{}", what_, name,
                     near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near));
  }

  FileBytes file_;
  std::string what_;
  GgufContents contents_;
  std::unordered_map<std::string, Entry> entries_;
  std::map<std::string, std::vector<std::pair<const GgufTensor*, GgufRole>>> parts_;
  std::vector<TensorInfo> infos_;
};

}  // namespace

std::unique_ptr<Checkpoint> open_gguf_file(const fs::path& path) {
  return make_gguf_checkpoint(map_file(path), nullptr);
}

std::unique_ptr<Checkpoint> make_gguf_checkpoint(FileBytes file, GgufRoleOf role_of) {
  return std::make_unique<GgufCheckpoint>(std::move(file), role_of);
}

}  // namespace ropescope
