#include "ropescope/io/hdf5_reader.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "ropescope/core/errors.h"
#include "ropescope/io/hdf5_support.h"

namespace ropescope {

namespace {

using hdf5::Handle;

/// zlib shrinks at most 1032 : 1; a dataset that claims more elements than its stored bytes can hold is a lie
/// about memory. Small ones may be all fill value.
constexpr uint64_t kMostInflation = 1032;
constexpr uint64_t kFillValueBytes = uint64_t{64} << 20;

struct MemoryType {
  at::ScalarType dtype;
  hid_t native;
};

/// The ATen type that holds every value of a stored numeric type; throws for compounds, references, ...
MemoryType memory_type(hid_t stored, const std::string& what) {
  const H5T_class_t kind = H5Tget_class(stored);
  const size_t bytes = H5Tget_size(stored);
  if (kind == H5T_FLOAT) {
    return bytes <= 4 ? MemoryType{at::kFloat, H5T_NATIVE_FLOAT} : MemoryType{at::kDouble, H5T_NATIVE_DOUBLE};
  }
  if (kind == H5T_ENUM) return {at::kBool, H5T_NATIVE_INT8};  // h5py stores bools as an enumeration
  if (kind == H5T_INTEGER) {
    const bool is_signed = H5Tget_sign(stored) != H5T_SGN_NONE;
    if (bytes == 1) {
      return is_signed ? MemoryType{at::kChar, H5T_NATIVE_INT8} : MemoryType{at::kByte, H5T_NATIVE_UINT8};
    }
    if (bytes == 2 && is_signed) return {at::kShort, H5T_NATIVE_INT16};
    if (bytes == 2 || (bytes == 4 && is_signed)) return {at::kInt, H5T_NATIVE_INT32};
    // uint64 keeps its bits: HDF5 converts big-endian ones to int64 without noticing an overflow; read()
    // does.
    if (bytes == 8 && !is_signed) return {at::kLong, H5T_NATIVE_UINT64};
    if (bytes <= 8) return {at::kLong, H5T_NATIVE_INT64};
  }
  throw InputError("{}: expected numbers, found another HDF5 type", what);
}

/// Memory for variable-length strings: many elements may share one stored string, so the sum is bounded.
struct StringBudget {
  uint64_t left;
  static void* allocate(size_t bytes, void* info) {
    auto& budget = *static_cast<StringBudget*>(info);
    if (bytes > budget.left) return nullptr;
    budget.left -= bytes;
    return std::malloc(bytes);
  }
  static void release(void* memory, void*) { std::free(memory); }
};

/// Elements and rank of a dataspace. Throws if their product overflows.
std::vector<int64_t> shape_of(hid_t space, const std::string& what) {
  if (H5Sget_simple_extent_type(space) == H5S_NULL) throw InputError("{}: the dataset is empty (null)", what);
  const int rank = H5Sget_simple_extent_ndims(space);
  if (rank < 0) throw InputError("{}: the shape cannot be read", what);
  std::vector<hsize_t> extents(static_cast<size_t>(rank));
  H5Sget_simple_extent_dims(space, extents.data(), nullptr);
  std::vector<int64_t> shape;
  uint64_t product = 1;
  for (const hsize_t extent : extents) {
    if (extent > 0 && product > (uint64_t{1} << 48) / extent) {
      throw InputError("{}: the shape has more elements than memory can hold", what);
    }
    product *= extent;
    shape.push_back(static_cast<int64_t>(extent));
  }
  return shape;
}

uint64_t product_of(const std::vector<int64_t>& shape) {
  uint64_t product = 1;
  for (const int64_t extent : shape) product *= static_cast<uint64_t>(extent);
  return product;
}

}  // namespace

struct Hdf5Reader::Impl {
  std::filesystem::path path;
  uint64_t file_bytes = 0;
  Handle file;

  ~Impl() {
    const hdf5::Silence silence;
    file.reset();
  }
  std::string at(const std::string& object) const { return path.string() + ": " + object; }

  /// True if every link on the way exists, stays inside this file, and ends at an object.
  bool has(const std::string& object) const {
    if (object == "/") return true;
    if (object.empty() || object.front() != '/') return false;
    for (const std::string& prefix : hdf5::path_prefixes(object)) {
      if (H5Lexists(file.get(), prefix.c_str(), H5P_DEFAULT) <= 0) return false;
      H5L_info_t info;
      if (H5Lget_info(file.get(), prefix.c_str(), &info, H5P_DEFAULT) < 0) return false;
      if (info.type != H5L_TYPE_HARD && info.type != H5L_TYPE_SOFT) return false;  // another file's
      if (H5Oexists_by_name(file.get(), prefix.c_str(), H5P_DEFAULT) <= 0) return false;
    }
    return true;
  }

  Handle open_dataset(const std::string& dataset) const {
    if (!has(dataset)) throw InputError("{}: no such dataset in this file", at(dataset));
    Handle opened(H5Dopen2(file.get(), dataset.c_str(), H5P_DEFAULT), H5Dclose);
    if (!opened) throw InputError("{}: expected a dataset ({})", at(dataset), hdf5::last_error());
    const Handle properties(H5Dget_create_plist(opened.get()), H5Pclose);
    const H5D_layout_t layout = H5Pget_layout(properties.get());
    if (layout == H5D_VIRTUAL || H5Pget_external_count(properties.get()) > 0) {
      throw InputError("{}: expected data inside the file, found a reference to other files", at(dataset));
    }
    return opened;
  }

  /// Refuses an extent that the stored bytes cannot fill, before anything is allocated for it.
  void check_extent(hid_t dataset, uint64_t bytes, const std::string& what) const {
    if (bytes <= kFillValueBytes) return;
    const Handle properties(H5Dget_create_plist(dataset), H5Pclose);
    const uint64_t inflation = H5Pget_layout(properties.get()) == H5D_CHUNKED ? kMostInflation : 1;
    const uint64_t stored = std::min<uint64_t>(H5Dget_storage_size(dataset), file_bytes);
    if (bytes / inflation > stored) {
      throw InputError("{}: the shape needs {} bytes, but the file stores {} for it", what, bytes, stored);
    }
  }

  /// Paths of all objects of one type below the root, sorted.
  std::vector<std::string> objects(H5O_type_t type) const {
    struct Found {
      H5O_type_t type;
      std::vector<std::string> names;
    } found{type, {}};
    const auto collect = [](hid_t, const char* name, const H5O_info_t* info, void* out) -> herr_t {
      auto& list = *static_cast<Found*>(out);
      const std::string text = name;
      if (info->type == list.type && text != ".") list.names.push_back("/" + text);
      return 0;
    };
    if (H5Ovisit(file.get(), H5_INDEX_NAME, H5_ITER_INC, collect, &found) < 0) {
      throw InputError("{}: the groups cannot be listed ({})", path.string(), hdf5::last_error());
    }
    std::sort(found.names.begin(), found.names.end());
    return found.names;
  }

  Handle open_attribute(const std::string& object, const std::string& name) const {
    Handle opened;
    if (has(object)) {
      opened = Handle(H5Aopen_by_name(file.get(), object.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT),
                      H5Aclose);
    }
    if (!opened) throw InputError("{}: no attribute \"{}\"", at(object), name);
    return opened;
  }
};

Hdf5Reader::Hdf5Reader(const std::filesystem::path& path) : impl_(std::make_unique<Impl>()) {
  const hdf5::Silence silence;
  impl_->path = path;
  std::error_code code;
  impl_->file_bytes = std::filesystem::file_size(path, code);
  if (code) throw InputError("{}: {}", path.string(), code.message());
  const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_fclose_degree(access.get(), H5F_CLOSE_STRONG);
#if H5_VERSION_GE(1, 10, 7)
  H5Pset_file_locking(access.get(), false, true);  // result files never change once they have their name
#endif
  impl_->file = Handle(H5Fopen(path.string().c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose);
  if (!impl_->file) {
    throw InputError("{}: expected an HDF5 file ({})", path.string(), hdf5::last_error());
  }
}

Hdf5Reader::~Hdf5Reader() = default;

bool Hdf5Reader::has(const std::string& object) const {
  const hdf5::Silence silence;
  return impl_->has(object);
}

std::vector<std::string> Hdf5Reader::datasets() const {
  const hdf5::Silence silence;
  return impl_->objects(H5O_TYPE_DATASET);
}

std::vector<std::string> Hdf5Reader::groups() const {
  const hdf5::Silence silence;
  return impl_->objects(H5O_TYPE_GROUP);
}

Hdf5Array Hdf5Reader::array(const std::string& dataset) const {
  const hdf5::Silence silence;
  const std::string what = impl_->at(dataset);
  const Handle opened = impl_->open_dataset(dataset);
  const Handle stored(H5Dget_type(opened.get()), H5Tclose);
  const Handle space(H5Dget_space(opened.get()), H5Sclose);
  Hdf5Array array;
  array.shape = shape_of(space.get(), what);
  array.strings = H5Tget_class(stored.get()) == H5T_STRING;
  if (!array.strings) array.dtype = memory_type(stored.get(), what).dtype;
  array.bytes = product_of(array.shape) * (array.strings ? 1 : c10::elementSize(array.dtype));
  return array;
}

void Hdf5Reader::check_size(const std::string& dataset) const {
  const hdf5::Silence silence;
  const std::string what = impl_->at(dataset);
  const Handle opened = impl_->open_dataset(dataset);
  const Handle stored(H5Dget_type(opened.get()), H5Tclose);
  const Hdf5Array found = array(dataset);
  const uint64_t elements = product_of(found.shape);
  impl_->check_extent(opened.get(),
                      elements * std::max(H5Tget_size(stored.get()), c10::elementSize(found.dtype)), what);
}

void Hdf5Reader::read_into(const std::string& dataset, void* values) const {
  const hdf5::Silence silence;
  const std::string what = impl_->at(dataset);
  const Handle opened = impl_->open_dataset(dataset);
  const Handle stored(H5Dget_type(opened.get()), H5Tclose);
  const MemoryType type = memory_type(stored.get(), what);
  const Handle space(H5Dget_space(opened.get()), H5Sclose);
  const uint64_t elements = product_of(shape_of(space.get(), what));
  if (elements == 0) return;
  if (H5Dread(opened.get(), type.native, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0) {
    throw InputError("{}: cannot be read ({})", what, hdf5::last_error());
  }
  if (type.native == H5T_NATIVE_UINT64) {
    const auto* integers = static_cast<const int64_t*>(values);
    if (std::any_of(integers, integers + elements, [](int64_t value) { return value < 0; })) {
      throw InputError("{}: expected integers below 2^63, found larger ones", what);
    }
  }
}

std::vector<std::string> Hdf5Reader::read_strings(const std::string& dataset) const {
  const hdf5::Silence silence;
  const std::string what = impl_->at(dataset);
  const Handle opened = impl_->open_dataset(dataset);
  const Handle stored(H5Dget_type(opened.get()), H5Tclose);
  if (H5Tget_class(stored.get()) != H5T_STRING) throw InputError("{}: expected strings", what);
  const Handle space(H5Dget_space(opened.get()), H5Sclose);
  const uint64_t count = product_of(shape_of(space.get(), what));
  const bool variable = H5Tis_variable_str(stored.get()) > 0;
  const size_t width = variable ? sizeof(char*) : H5Tget_size(stored.get());
  if (width > std::numeric_limits<uint64_t>::max() / std::max<uint64_t>(count, 1)) {
    throw InputError("{}: the strings are longer than memory can hold", what);
  }
  impl_->check_extent(opened.get(), count * width, what);
  std::vector<std::string> strings(count);
  if (count == 0) return strings;

  std::vector<char> buffer(count * width, '\0');
  StringBudget budget{kFillValueBytes + impl_->file_bytes};
  const Handle transfer(H5Pcreate(H5P_DATASET_XFER), H5Pclose);
  H5Pset_vlen_mem_manager(transfer.get(), StringBudget::allocate, &budget, StringBudget::release, nullptr);
  const herr_t status = H5Dread(opened.get(), stored.get(), H5S_ALL, H5S_ALL, transfer.get(), buffer.data());
  const std::string reason = status < 0 ? hdf5::last_error() : "";
  for (size_t i = 0; i < count && status >= 0; ++i) {
    const char* cell = buffer.data() + i * width;
    if (variable) {
      const char* text = *reinterpret_cast<const char* const*>(cell);
      if (text != nullptr) strings[i] = text;
    } else {
      strings[i].assign(cell, strnlen(cell, width));
      if (H5Tget_strpad(stored.get()) == H5T_STR_SPACEPAD)
        strings[i].erase(strings[i].find_last_not_of(' ') + 1);
    }
  }
  if (variable) H5Dvlen_reclaim(stored.get(), space.get(), transfer.get(), buffer.data());
  if (status < 0) throw InputError("{}: cannot be read ({})", what, reason);
  return strings;
}

std::vector<std::string> Hdf5Reader::attribute_names(const std::string& object) const {
  const hdf5::Silence silence;
  if (!impl_->has(object)) throw InputError("{}: no such object in this file", impl_->at(object));
  std::vector<std::string> names;
  const auto collect = [](hid_t, const char* name, const H5A_info_t*, void* out) -> herr_t {
    static_cast<std::vector<std::string>*>(out)->push_back(name);
    return 0;
  };
  if (H5Aiterate_by_name(impl_->file.get(), object.c_str(), H5_INDEX_NAME, H5_ITER_INC, nullptr, collect,
                         &names, H5P_DEFAULT) < 0) {
    throw InputError("{}: the attributes cannot be listed ({})", impl_->at(object), hdf5::last_error());
  }
  return names;
}

bool Hdf5Reader::has_attribute(const std::string& object, const std::string& name) const {
  const hdf5::Silence silence;
  return impl_->has(object) &&
         H5Aexists_by_name(impl_->file.get(), object.c_str(), name.c_str(), H5P_DEFAULT) > 0;
}

Attribute Hdf5Reader::attribute(const std::string& object, const std::string& name) const {
  const hdf5::Silence silence;
  const std::string what = impl_->at(object) + " attribute " + name;
  const Handle opened = impl_->open_attribute(object, name);
  const Handle stored(H5Aget_type(opened.get()), H5Tclose);
  const Handle space(H5Aget_space(opened.get()), H5Sclose);
  if (product_of(shape_of(space.get(), what)) != 1) throw InputError("{}: expected a single value", what);
  const auto read_into = [&](hid_t memory, void* value) {
    if (H5Aread(opened.get(), memory, value) < 0) {
      throw InputError("{}: cannot be read ({})", what, hdf5::last_error());
    }
  };
  switch (H5Tget_class(stored.get())) {
    case H5T_STRING: {
      if (H5Tis_variable_str(stored.get()) > 0) {
        char* text = nullptr;
        read_into(stored.get(), &text);
        const std::string copy = text == nullptr ? "" : text;
        H5free_memory(text);
        return copy;
      }
      const size_t width = H5Tget_size(stored.get());
      if (width > impl_->file_bytes) throw InputError("{}: longer than the file", what);
      std::string text(width, '\0');
      read_into(stored.get(), text.data());
      return text.substr(0, strnlen(text.data(), width));
    }
    case H5T_INTEGER: {
      if (H5Tget_sign(stored.get()) == H5T_SGN_NONE && H5Tget_size(stored.get()) == 8) {
        uint64_t value = 0;
        read_into(H5T_NATIVE_UINT64, &value);
        // A seed may use all 64 bits; its digits are kept then.
        if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::to_string(value);
        return static_cast<int64_t>(value);
      }
      [[fallthrough]];
    }
    case H5T_ENUM: {
      int64_t value = 0;
      read_into(H5T_NATIVE_INT64, &value);
      return value;
    }
    case H5T_FLOAT: {
      double value = 0;
      read_into(H5T_NATIVE_DOUBLE, &value);
      return value;
    }
    default:
      throw InputError("{}: expected a string or a number", what);
  }
}

}  // namespace ropescope
