#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <ctime>
#include <map>
#include <optional>

#include <zlib.h>

#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/core/json.h"
#include "ropescope/core/version.h"
#include "ropescope/io/hdf5_support.h"
#include "ropescope/io/result_file.h"

namespace ropescope {

namespace {

using hdf5::Handle;

constexpr int64_t kFormatVersion = 1;
/// Below this a dataset is stored as it is: a chunk index would cost more than compression saves.
constexpr uint64_t kCompressFromBytes = uint64_t{1} << 16;
constexpr uint64_t kChunkBytes = uint64_t{1} << 20;
/// zlib's fastest level: floating-point mantissas do not shrink further at higher ones.
constexpr unsigned kDeflateLevel = 1;

struct StoredType {
  at::ScalarType dtype;  ///< converted to before writing
  hid_t memory;
  hid_t file;
};

StoredType stored_type(at::ScalarType dtype, const std::string& dataset) {
  switch (dtype) {
    case at::kDouble:
      return {at::kDouble, H5T_NATIVE_DOUBLE, H5T_IEEE_F64LE};
    case at::kFloat:
    case at::kHalf:
    case at::kBFloat16:
      return {at::kFloat, H5T_NATIVE_FLOAT, H5T_IEEE_F32LE};
    case at::kLong:
      return {at::kLong, H5T_NATIVE_INT64, H5T_STD_I64LE};
    case at::kInt:
      return {at::kInt, H5T_NATIVE_INT32, H5T_STD_I32LE};
    case at::kShort:
      return {at::kShort, H5T_NATIVE_INT16, H5T_STD_I16LE};
    case at::kChar:
      return {at::kChar, H5T_NATIVE_INT8, H5T_STD_I8LE};
    case at::kByte:
    case at::kBool:
      return {at::kByte, H5T_NATIVE_UINT8, H5T_STD_U8LE};
    default:
      throw InternalError("{}: tensors of type {} cannot be stored", dataset, at::toString(dtype));
  }
}

/// Halves the outermost axis that is longer than 1 until a chunk is about kChunkBytes: rows stay whole.
std::vector<hsize_t> chunk_shape(std::vector<hsize_t> shape, uint64_t element_bytes) {
  const auto bytes = [&] {
    uint64_t product = element_bytes;
    for (const hsize_t extent : shape) product *= extent;
    return product;
  };
  for (hsize_t& extent : shape) {
    while (extent > 1 && bytes() > kChunkBytes) extent = (extent + 1) / 2;
  }
  return shape;
}

/// Whether shuffle + deflate would save a quarter, judged by a few blocks. Mantissas of measured numbers
/// hardly shrink, and deflating a gigabyte of them for a tenth of its size would take longer than the
/// measurement.
bool worth_compressing(const at::Tensor& values) {
  constexpr size_t kBlocks = 4, kBlockBytes = size_t{1} << 14;
  const size_t width = values.element_size(), bytes = values.nbytes();
  if (bytes < kCompressFromBytes) return false;
  const auto* data = static_cast<const Bytef*>(values.const_data_ptr());
  std::vector<Bytef> shuffled(kBlockBytes), packed(compressBound(kBlockBytes));
  size_t packed_bytes = 0;
  for (size_t block = 0; block < kBlocks; ++block) {
    const Bytef* from = data + (bytes - kBlockBytes) / width * block / (kBlocks - 1) * width;
    for (size_t i = 0; i < kBlockBytes; ++i)
      shuffled[i % width * (kBlockBytes / width) + i / width] = from[i];
    uLongf size = packed.size();
    if (compress2(packed.data(), &size, shuffled.data(), kBlockBytes, kDeflateLevel) != Z_OK) return true;
    packed_bytes += size;
  }
  return packed_bytes * 4 < kBlocks * kBlockBytes * 3;
}

/// Now, or SOURCE_DATE_EPOCH where it is set, so that a rerun can be byte-identical.
std::string utc_now() {
  std::time_t seconds = std::time(nullptr);
  if (const char* epoch = std::getenv("SOURCE_DATE_EPOCH"); epoch != nullptr && *epoch != '\0') {
    const std::string text = epoch;
    int64_t value = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    constexpr int64_t kEndOfYear9999 = 253'402'300'799;
    if (code != std::errc() || end != text.data() + text.size() || value < 0 || value > kEndOfYear9999) {
      throw UsageError("SOURCE_DATE_EPOCH: expected seconds since 1970, found \"{}\"", text);
    }
    seconds = static_cast<std::time_t>(value);
  }
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char buffer[32];
  std::strftime(buffer, sizeof buffer, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return buffer;
}

/// HDF5's strings end at a NUL; one inside a text would silently cut it.
std::string without_nul(std::string text) {
  for (size_t at = text.find('\0'); at != std::string::npos; at = text.find('\0', at)) {
    text.replace(at, 1, "\xEF\xBF\xBD");
  }
  return text;
}

}  // namespace

struct ResultWriter::Impl {
  Impl(const std::filesystem::path& path, bool force) : output(path, force) {}
  ~Impl() {
    const hdf5::Silence silence;
    file.reset();  // before `output` removes what was not committed
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw EnvironmentError("{}: {} cannot be written ({}); is the disk full?", output.target_path().string(),
                           what, hdf5::last_error());
  }
  void require(bool ok, const std::string& what) const {
    if (!ok) fail(what);
  }
  bool exists(const std::string& path) const { return H5Lexists(file.get(), path.c_str(), H5P_DEFAULT) > 0; }

  void make_group(const std::string& path) {
    if (path == "/" || exists(path)) return;
    const Handle properties(H5Pcreate(H5P_GROUP_CREATE), H5Pclose);
    H5Pset_obj_track_times(properties.get(), false);
    const Handle group(H5Gcreate2(file.get(), path.c_str(), H5P_DEFAULT, properties.get(), H5P_DEFAULT),
                       H5Gclose);
    require(static_cast<bool>(group), path);
  }

  /// Makes the groups above `path`.
  void prepare(const std::string& path) {
    const bool well_formed = path.size() > 1 && path.front() == '/' && path.back() != '/' &&
                             path.find("//") == std::string::npos && path.find('\0') == std::string::npos;
    if (!well_formed) throw InternalError("dataset name \"{}\": expected the form /group/name", path);
    const std::vector<std::string> prefixes = hdf5::path_prefixes(path);
    for (size_t i = 0; i + 1 < prefixes.size(); ++i) make_group(prefixes[i]);
    if (exists(path)) throw InternalError("{} is written twice", path);
  }

  /// `chunk`: of a compressed dataset; none leaves it as it is.
  Handle make_dataset(const std::string& path, hid_t type, const std::vector<hsize_t>& shape,
                      const std::vector<hsize_t>& chunk = {}) {
    prepare(path);
    const Handle space(shape.empty()
                           ? H5Screate(H5S_SCALAR)
                           : H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr),
                       H5Sclose);
    const Handle properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    require(space && properties, path);
    H5Pset_obj_track_times(properties.get(), false);
    if (!chunk.empty()) {
      H5Pset_chunk(properties.get(), static_cast<int>(chunk.size()), chunk.data());
      H5Pset_shuffle(properties.get());
      H5Pset_deflate(properties.get(), kDeflateLevel);
    }
    Handle dataset(
        H5Dcreate2(file.get(), path.c_str(), type, space.get(), H5P_DEFAULT, properties.get(), H5P_DEFAULT),
        H5Dclose);
    require(static_cast<bool>(dataset), path);
    written.push_back(path);
    return dataset;
  }

  /// A dataset of parts, made when the first of them is known.
  void make_promised(const std::string path, const at::Tensor& part) {
    const std::vector<hsize_t> shape = promised.extract(path).mapped();
    std::vector<hsize_t> chunk;
    if (part.defined() && worth_compressing(part)) {
      chunk = shape;
      chunk.front() = 1;
      chunk = chunk_shape(chunk, sizeof(float));
    }
    make_dataset(path, H5T_IEEE_F32LE, shape, chunk);
  }

  void write_attribute(const std::string& object, const std::string& name, hid_t file_type, hid_t memory_type,
                       const void* value) {
    if (H5Aexists_by_name(file.get(), object.c_str(), name.c_str(), H5P_DEFAULT) > 0) {
      H5Adelete_by_name(file.get(), object.c_str(), name.c_str(), H5P_DEFAULT);
    }
    const Handle space(H5Screate(H5S_SCALAR), H5Sclose);
    const Handle attribute(H5Acreate_by_name(file.get(), object.c_str(), name.c_str(), file_type, space.get(),
                                             H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                           H5Aclose);
    const std::string what = object + " attribute " + name;
    require(static_cast<bool>(attribute), what);
    require(H5Awrite(attribute.get(), memory_type, value) >= 0, what);
  }

  AtomicFile output;
  Handle file;
  std::vector<std::string> written;                      ///< datasets
  std::map<std::string, std::vector<hsize_t>> promised;  ///< by create(), nothing written yet
};

ResultWriter::ResultWriter(const std::filesystem::path& path, const Provenance& provenance, bool force) {
  const hdf5::Silence silence;
  impl_ = std::make_unique<Impl>(path, force);
  const std::string name = impl_->output.temporary_path().string();
  const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_fclose_degree(access.get(), H5F_CLOSE_STRONG);
#if H5_VERSION_GE(1, 10, 7)
  // Nobody else knows the temporary name, and some cluster file systems refuse locks.
  H5Pset_file_locking(access.get(), false, true);
#endif
  // The format of HDF5 1.8: its metadata carry checksums, so that a damaged file is noticed, and any later
  // library reads it.
  H5Pset_libver_bounds(access.get(), H5F_LIBVER_V18, H5F_LIBVER_V18);
  const Handle creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
  H5Pset_obj_track_times(creation.get(), false);
  impl_->file = Handle(H5Fcreate(name.c_str(), H5F_ACC_TRUNC, creation.get(), access.get()), H5Fclose);
  impl_->require(static_cast<bool>(impl_->file), "the file");

  attribute("/", "format", "ropescope-result");
  attribute("/", "format_version", kFormatVersion);
  attribute("/", "command", provenance.command);
  attribute("/", "created_utc", utc_now());
  attribute("/", "ropescope_version", version());
  attribute("/", "ropescope_commit", ropescope::commit());
  attribute("/", "libtorch_version", libtorch_version());
  attribute("/", "device", provenance.device);
  attribute("/", "dtype", provenance.dtype);
  impl_->write_attribute("/", "seed", H5T_STD_U64LE, H5T_NATIVE_UINT64, &provenance.seed);

  std::vector<std::string> names, digests;
  std::vector<int64_t> sizes;
  Json listed = Json::array();  // the same at a glance among the root attributes
  for (const InputFile& input : provenance.inputs) {
    names.push_back(input.name);
    digests.push_back(input.sha256);
    sizes.push_back(static_cast<int64_t>(input.bytes));
    listed.push_back({{"name", input.name}, {"bytes", input.bytes}, {"sha256", input.sha256}});
  }
  write("/provenance/inputs/name", names);
  write("/provenance/inputs/bytes", at::tensor(sizes, at::kLong));
  write("/provenance/inputs/sha256", digests);
  attribute("/", "inputs", listed.dump(-1, ' ', false, Json::error_handler_t::replace));
}

ResultWriter::~ResultWriter() = default;

void ResultWriter::write(const std::string& dataset, const at::Tensor& tensor) {
  const hdf5::Silence silence;
  if (!tensor.defined()) throw InternalError("{}: the tensor is undefined", dataset);
  const StoredType type = stored_type(tensor.scalar_type(), dataset);
  const at::Tensor values = tensor.detach().to(at::kCPU, type.dtype).contiguous();
  const std::vector<hsize_t> shape(values.sizes().begin(), values.sizes().end());
  const auto chunk =
      worth_compressing(values) ? chunk_shape(shape, values.element_size()) : std::vector<hsize_t>();
  const Handle made = impl_->make_dataset(dataset, type.file, shape, chunk);
  if (values.numel() == 0) return;
  impl_->require(
      H5Dwrite(made.get(), type.memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.const_data_ptr()) >= 0,
      dataset);
}

void ResultWriter::write(const std::string& dataset, const std::vector<std::string>& strings) {
  const hdf5::Silence silence;
  const Handle type = hdf5::string_type();
  const Handle made = impl_->make_dataset(dataset, type.get(), {strings.size()});
  if (strings.empty()) return;
  std::vector<std::string> texts;
  texts.reserve(strings.size());
  for (const std::string& text : strings) texts.push_back(without_nul(text));
  std::vector<const char*> pointers;
  pointers.reserve(texts.size());
  for (const std::string& text : texts) pointers.push_back(text.c_str());
  impl_->require(H5Dwrite(made.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, pointers.data()) >= 0,
                 dataset);
}

void ResultWriter::create(const std::string& dataset, const std::vector<int64_t>& shape) {
  const hdf5::Silence silence;
  if (shape.empty()) throw InternalError("{}: expected a first axis to divide into parts", dataset);
  impl_->prepare(dataset);
  const bool first = impl_->promised.try_emplace(dataset, shape.begin(), shape.end()).second;
  if (!first) throw InternalError("{} is written twice", dataset);
}

void ResultWriter::write_part(const std::string& dataset, int64_t index, const at::Tensor& part) {
  const hdf5::Silence silence;
  const at::Tensor values = part.detach().to(at::kCPU, at::kFloat).contiguous();
  const auto promised = impl_->promised.find(dataset);
  if (promised != impl_->promised.end()) {
    const std::vector<hsize_t>& shape = promised->second;
    const bool fits = index >= 0 && static_cast<hsize_t>(index) < shape.front() &&
                      std::equal(shape.begin() + 1, shape.end(), values.sizes().begin(), values.sizes().end(),
                                 [](hsize_t a, int64_t b) { return a == static_cast<hsize_t>(b); });
    if (!fits) throw InternalError("{}: part {} does not fit the dataset", dataset, index);
    impl_->make_promised(dataset, values);
  }
  const Handle made(H5Dopen2(impl_->file.get(), dataset.c_str(), H5P_DEFAULT), H5Dclose);
  if (!made) throw InternalError("{}: a part is written before the dataset is created", dataset);
  const Handle space(H5Dget_space(made.get()), H5Sclose);
  std::vector<hsize_t> extents(static_cast<size_t>(std::max(H5Sget_simple_extent_ndims(space.get()), 0)));
  H5Sget_simple_extent_dims(space.get(), extents.data(), nullptr);
  const std::vector<hsize_t> found(values.sizes().begin(), values.sizes().end());
  if (extents.empty() || index < 0 || static_cast<hsize_t>(index) >= extents.front() ||
      !std::equal(extents.begin() + 1, extents.end(), found.begin(), found.end())) {
    throw InternalError("{}: part {} does not fit the dataset", dataset, index);
  }
  if (values.numel() == 0) return;
  std::vector<hsize_t> start(extents.size(), 0), count = extents;
  start.front() = static_cast<hsize_t>(index);
  count.front() = 1;
  const Handle memory(H5Screate_simple(static_cast<int>(count.size()), count.data(), nullptr), H5Sclose);
  const bool chosen =
      H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr) >= 0;
  impl_->require(memory && chosen &&
                     H5Dwrite(made.get(), H5T_NATIVE_FLOAT, memory.get(), space.get(), H5P_DEFAULT,
                              values.const_data_ptr()) >= 0,
                 dataset);
}

void ResultWriter::attribute(const std::string& object, const std::string& name, const Attribute& value) {
  const hdf5::Silence silence;
  for (const std::string& prefix : hdf5::path_prefixes(object)) impl_->make_group(prefix);
  if (const auto* text = std::get_if<std::string>(&value)) {
    const Handle type = hdf5::string_type();
    const std::string clean = without_nul(*text);
    const char* pointer = clean.c_str();
    impl_->write_attribute(object, name, type.get(), type.get(), &pointer);
  } else if (const auto* integer = std::get_if<int64_t>(&value)) {
    impl_->write_attribute(object, name, H5T_STD_I64LE, H5T_NATIVE_INT64, integer);
  } else {
    impl_->write_attribute(object, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &std::get<double>(value));
  }
}

uint64_t ResultWriter::commit() {
  const hdf5::Silence silence;
  while (!impl_->promised.empty()) impl_->make_promised(impl_->promised.begin()->first, {});
  for (const std::string& dataset : impl_->written) {
    const std::optional<DatasetDescription> known = describe_dataset(dataset);
    if (!known) continue;
    const auto& [dimensions, units, description] = kDescriptionAttributes;
    if (!known->dimensions.empty()) attribute(dataset, dimensions, known->dimensions);
    attribute(dataset, units, known->units);
    attribute(dataset, description, known->description);
  }
  impl_->require(H5Fflush(impl_->file.get(), H5F_SCOPE_GLOBAL) >= 0, "the file");
  impl_->require(impl_->file.reset(), "the file");
  std::error_code code;
  const uint64_t bytes = std::filesystem::file_size(impl_->output.temporary_path(), code);
  if (code) throw EnvironmentError("{}: {}", impl_->output.temporary_path().string(), code.message());
  impl_->output.commit();
  return bytes;
}

}  // namespace ropescope
