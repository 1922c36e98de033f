#include "ropescope/weights/pytorch_file.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <set>
#include <string_view>

#include "ropescope/core/errors.h"
#include "ropescope/weights/pickle.h"
#include "ropescope/weights/zip_archive.h"

namespace ropescope {

namespace {

using Bytes = std::span<const std::byte>;

// A data.pkl takes some 150 bytes a tensor.
constexpr uint64_t kMaxPickleBytes = uint64_t{16} << 20;
constexpr uint64_t kBaseValues = 65536;
constexpr std::array<const char*, 4> kWrappers = {"state_dict", "model_state_dict", "model", "module"};
// 0x1950a86a20f9469cfc6c as a pickled integer: torch.serialization.MAGIC_NUMBER.
constexpr std::string_view kLegacyMagic = "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// The bytes of one storage, wherever the container keeps them.
struct StorageBytes {
  Bytes data;
  bool deflated = false;
  uint64_t size = 0;
};
using Storages = std::map<std::string, StorageBytes>;

/// The values' own memory stays below the file's size, small files aside.
uint64_t max_values(const FileBytes& file) { return kBaseValues + file.bytes.size() / sizeof(PickleValue); }

bool has_tensors(const PickleDict& dict) {
  return std::any_of(dict.items.begin(), dict.items.end(),
                     [](const auto& item) { return item.second->template as<PickleTensor>() != nullptr; });
}

const PickleDict& find_state_dict(const Pickle& pickle, const std::string& what) {
  const auto* top = pickle.root->as<PickleDict>();
  if (top == nullptr)
    throw InputError("{}: expected a dict of tensors (a state dict), found something else", what);
  if (has_tensors(*top)) return *top;
  for (const char* wrapper : kWrappers) {
    for (const auto& [key, value] : top->items) {
      const auto* name = key->as<std::string>();
      const auto* inner = value->as<PickleDict>();
      if (name != nullptr && *name == wrapper && inner != nullptr && has_tensors(*inner)) return *inner;
    }
  }
  throw InputError("{}: expected a dict of tensors (a state dict), found a dict with no tensors", what);
}

/// Number of storage elements up to the tensor's last, or nothing if that does not fit in int64.
std::optional<int64_t> reach(const PickleTensor& tensor) {
  int64_t last = tensor.offset;
  for (size_t i = 0; i < tensor.sizes.size(); ++i) {
    int64_t step = 0;
    if (tensor.strides[i] < 0 || __builtin_mul_overflow(tensor.sizes[i] - 1, tensor.strides[i], &step) ||
        __builtin_add_overflow(last, step, &last)) {
      return std::nullopt;
    }
  }
  if (__builtin_add_overflow(last, 1, &last)) return std::nullopt;
  return last;
}

StoredTensor resolve(const std::string& name, const PickleTensor& tensor, const Storages& storages,
                     const FileBytes& file) {
  const std::string what = fmt::format("{}: tensor \"{}\"", file.path.string(), name);
  const uint64_t width = tensor.type->bits / 8;
  StoredTensor stored;
  stored.info = {name, tensor.type->name, tensor.sizes, 0, file.path.filename().string()};
  stored.type = tensor.type;
  stored.strides = tensor.strides;
  stored.owner = file.owner;

  const auto count = count_elements(tensor.sizes);
  if (!count || tensor.sizes.size() != tensor.strides.size() || tensor.offset < 0) {
    throw InputError("{}: impossible sizes, strides or offset", what);
  }
  const auto found = storages.find(tensor.storage->key);
  if (found == storages.end()) {
    throw InputError("{}: its storage \"{}\" is not in the file", what, tensor.storage->key);
  }
  const StorageBytes& storage = found->second;
  const uint64_t storage_width = tensor.storage->type == nullptr ? 1 : tensor.storage->type->bits / 8;
  if (static_cast<uint64_t>(tensor.storage->count) > storage.size / storage_width ||
      static_cast<uint64_t>(tensor.storage->count) * storage_width != storage.size) {
    throw InputError("{}: expected a storage of {} elements of {} bytes, found {} bytes", what,
                     tensor.storage->count, storage_width, storage.size);
  }
  if (*count == 0) return stored;

  const auto needed = reach(tensor);
  if (!needed || static_cast<uint64_t>(*needed) > storage.size / width) {
    throw InputError("{}: its strides lead beyond its storage of {} bytes", what, storage.size);
  }
  // Stride 0 repeats elements, so that a few bytes could claim any size.
  if (static_cast<uint64_t>(*count) > std::max<uint64_t>(file.bytes.size(), storage.size) / width) {
    throw InputError("{}: {} elements are more than the file of {} bytes can hold", what, *count,
                     file.bytes.size());
  }
  stored.info.bytes = static_cast<uint64_t>(*count) * width;
  const uint64_t begin = static_cast<uint64_t>(tensor.offset) * width;
  if (storage.deflated) {
    stored.elements = storage.data;
    stored.inflated_bytes = storage.size;
    stored.inflated_offset = begin;
  } else {
    stored.elements = storage.data.subspan(begin, static_cast<uint64_t>(*needed - tensor.offset) * width);
  }
  return stored;
}

std::vector<StoredTensor> tensors_of(const Pickle& pickle, const Storages& storages, const FileBytes& file) {
  const std::string what = file.path.string();
  std::vector<StoredTensor> tensors;
  for (const auto& [key, value] : find_state_dict(pickle, what).items) {
    const auto* tensor = value->as<PickleTensor>();
    if (tensor == nullptr) continue;
    const auto* name = key->as<std::string>();
    if (name == nullptr) throw InputError("{}: a tensor whose name is not text", what);
    tensors.push_back(resolve(*name, *tensor, storages, file));
  }
  return tensors;
}

std::vector<StoredTensor> parse_archive(const FileBytes& file) {
  const std::string what = file.path.string();
  const auto entries = read_zip_directory(file.bytes, what);
  constexpr std::string_view kPickleName = "/data.pkl";
  const ZipEntry* pickled = nullptr;
  for (const ZipEntry& entry : entries) {
    if (!std::string_view(entry.name).ends_with(kPickleName)) continue;
    if (pickled != nullptr) throw InputError("{}: expected one data.pkl, found two", what);
    pickled = &entry;
  }
  if (pickled == nullptr)
    throw InputError("{}: a zip archive without data.pkl: not written by torch.save", what);
  if (pickled->size > kMaxPickleBytes) {
    throw InputError("{}: data.pkl: expected at most {} bytes, found {}", what, kMaxPickleBytes,
                     pickled->size);
  }
  const std::string pickle_what = what + ": data.pkl";
  const std::string folder = pickled->name.substr(0, pickled->name.size() - kPickleName.size() + 1);
  const std::string data_folder = folder + "data/";
  Storages storages;
  for (const ZipEntry& entry : entries) {
    if (entry.name == folder + "byteorder" && !entry.deflated &&
        std::string_view(reinterpret_cast<const char*>(entry.data.data()), entry.data.size()) == "big") {
      throw InputError("{}: the storages are big-endian, which is not supported", what);
    }
    if (entry.name.starts_with(data_folder)) {
      storages[entry.name.substr(data_folder.size())] = {entry.data, entry.deflated, entry.size};
    }
  }
  std::vector<std::byte> inflated;
  if (pickled->deflated) inflated = inflate_record(pickled->data, pickled->size, pickle_what);
  return tensors_of(
      read_pickle(pickled->deflated ? Bytes(inflated) : pickled->data, max_values(file), pickle_what),
      storages, file);
}

/// The form from before PyTorch 1.6: pickles of a magic number, a version, the writer's system, the state
/// dict and the list of storages, then each storage as a 64-bit element count and its elements.
std::vector<StoredTensor> parse_legacy(const FileBytes& file) {
  const std::string what = file.path.string();
  Bytes rest = file.bytes;
  const auto next = [&] {
    Pickle pickle =
        read_pickle(rest.first(std::min<uint64_t>(rest.size(), kMaxPickleBytes)), max_values(file), what);
    rest = rest.subspan(pickle.consumed);
    return pickle;
  };
  next();
  const Pickle version = next();
  if (const auto* number = version.root->as<int64_t>(); number == nullptr || *number != 1001) {
    throw InputError("{}: expected version 1001 of PyTorch's older file form", what);
  }
  const Pickle system = next();
  if (const auto* facts = system.root->as<PickleDict>()) {
    for (const auto& [key, value] : facts->items) {
      const auto* name = key->as<std::string>();
      const auto* flag = value->as<bool>();
      if (name != nullptr && *name == "little_endian" && flag != nullptr && !*flag) {
        throw InputError("{}: the storages are big-endian, which is not supported", what);
      }
    }
  }
  const Pickle pickle = next();
  std::map<std::string, uint64_t> widths;
  for (const PickleValue& value : pickle.arena) {
    const auto* storage = value.as<PickleStorage>();
    if (storage != nullptr) widths[storage->key] = storage->type == nullptr ? 1 : storage->type->bits / 8;
  }
  const Pickle keys = next();
  const auto* list = keys.root->as<PickleList>();
  if (list == nullptr) throw InputError("{}: damaged: expected the list of storages", what);
  Storages storages;
  for (const PickleValue* item : list->items) {
    const auto* key = item->as<std::string>();
    const auto width = key == nullptr ? widths.end() : widths.find(*key);
    if (width == widths.end()) throw InputError("{}: damaged: a storage that no tensor uses", what);
    constexpr uint64_t kCountBytes = 8;
    uint64_t count = 0;
    if (rest.size() < kCountBytes) throw InputError("{}: storage \"{}\" is cut short", what, *key);
    for (size_t i = 0; i < kCountBytes; ++i) count |= std::to_integer<uint64_t>(rest[i]) << (8 * i);
    rest = rest.subspan(kCountBytes);
    if (count > rest.size() / width->second) {
      throw InputError(
          "{}: storage \"{}\": expected {} elements of {} bytes, found {} bytes; the file may be cut short",
          what, *key, count, width->second, rest.size());
    }
    const uint64_t size = count * width->second;
    if (!storages.emplace(*key, StorageBytes{rest.first(size), false, size}).second) {
      throw InputError("{}: damaged: storage \"{}\" is there twice", what, *key);
    }
    rest = rest.subspan(size);
  }
  if (!rest.empty()) throw InputError("{}: {} bytes after the last storage", what, rest.size());
  return tensors_of(pickle, storages, file);
}

bool is_legacy(Bytes bytes) {
  const std::string_view text = first_bytes(bytes, 32);
  return text.starts_with('\x80') && text.find(kLegacyMagic) != std::string_view::npos;
}

}  // namespace

bool looks_like_pytorch(Bytes bytes) { return first_bytes(bytes, 2) == "PK" || is_legacy(bytes); }

std::vector<StoredTensor> parse_pytorch(const FileBytes& file) {
  return is_legacy(file.bytes) ? parse_legacy(file) : parse_archive(file);
}

}  // namespace ropescope
