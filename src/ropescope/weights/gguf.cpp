#include "ropescope/weights/gguf.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <fstream>
#include <set>
#include <utility>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"

namespace ropescope {

namespace {

constexpr uint64_t kDefaultAlignment = 32;
constexpr uint32_t kMaxGgufDimensions = 4;
constexpr int kMaxArrayDepth = 4;

enum class ValueType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

/// Walks over untrusted bytes; nothing is read or allocated before the bytes are known to be there.
class Reader {
 public:
  Reader(std::span<const std::byte> bytes, const std::string& what) : bytes_(bytes), what_(what) {}

  uint64_t position() const { return position_; }
  uint64_t left() const { return bytes_.size() - position_; }

  [[noreturn]] void fail(const std::string& message) const {
    throw InputError("{}: {} (at byte {})", what_, message, position_);
  }

  template <typename T>
  T number(const char* of) {
    T value;
    std::memcpy(&value, take(sizeof(T), of), sizeof(T));
    return value;
  }

  std::string string(const char* of) {
    const auto length = number<uint64_t>(of);
    if (length > left()) {
      fail(fmt::format("{}: its length of {} bytes exceeds the {} bytes that are left", of, length, left()));
    }
    const char* begin = reinterpret_cast<const char*>(take(length, of));
    return {begin, begin + length};
  }

  GgufValue value(uint32_t type) {
    switch (static_cast<ValueType>(type)) {
      case ValueType::kU8:
        return uint64_t{number<uint8_t>(kValue)};
      case ValueType::kU16:
        return uint64_t{number<uint16_t>(kValue)};
      case ValueType::kU32:
        return uint64_t{number<uint32_t>(kValue)};
      case ValueType::kU64:
        return number<uint64_t>(kValue);
      case ValueType::kI8:
        return int64_t{number<int8_t>(kValue)};
      case ValueType::kI16:
        return int64_t{number<int16_t>(kValue)};
      case ValueType::kI32:
        return int64_t{number<int32_t>(kValue)};
      case ValueType::kI64:
        return number<int64_t>(kValue);
      case ValueType::kF32:
        return double{number<float>(kValue)};
      case ValueType::kF64:
        return number<double>(kValue);
      case ValueType::kBool:
        return number<uint8_t>(kValue) != 0;
      case ValueType::kString:
        return string("a metadata string");
      case ValueType::kArray:
        return array(1);
    }
    fail(fmt::format("unknown metadata type {}", type));
  }

 private:
  static constexpr const char* kValue = "a metadata value";

  const std::byte* take(uint64_t count, const char* of) {
    if (count > left()) {
      fail(fmt::format("{}: expected {} more bytes, found {}; the file is cut short", of, count, left()));
    }
    const std::byte* begin = bytes_.data() + position_;
    position_ += count;
    return begin;
  }

  /// Bytes that one element takes at least in the file.
  uint64_t smallest_element(uint32_t type) const {
    switch (static_cast<ValueType>(type)) {
      case ValueType::kU8:
      case ValueType::kI8:
      case ValueType::kBool:
        return 1;
      case ValueType::kU16:
      case ValueType::kI16:
        return 2;
      case ValueType::kU32:
      case ValueType::kI32:
      case ValueType::kF32:
        return 4;
      case ValueType::kU64:
      case ValueType::kI64:
      case ValueType::kF64:
      case ValueType::kString:
        return 8;
      case ValueType::kArray:
        return 12;
    }
    fail(fmt::format("unknown type {} of array elements", type));
  }

  template <typename Stored, typename Kept>
  std::shared_ptr<const GgufArray> numbers(uint64_t count) {
    std::vector<Kept> values;
    values.reserve(count);
    for (uint64_t i = 0; i < count; ++i) values.push_back(static_cast<Kept>(number<Stored>(kValue)));
    return std::make_shared<const GgufArray>(GgufArray{std::move(values)});
  }

  std::shared_ptr<const GgufArray> array(int depth) {
    if (depth > kMaxArrayDepth) {
      fail(fmt::format("metadata arrays nest deeper than {} levels", kMaxArrayDepth));
    }
    const auto type = number<uint32_t>("an array's type");
    const auto count = number<uint64_t>("an array's length");
    if (count > left() / smallest_element(type)) {
      fail(fmt::format("an array of {} elements does not fit in the {} bytes that are left", count, left()));
    }
    switch (static_cast<ValueType>(type)) {
      case ValueType::kU8:
        return numbers<uint8_t, uint64_t>(count);
      case ValueType::kU16:
        return numbers<uint16_t, uint64_t>(count);
      case ValueType::kU32:
        return numbers<uint32_t, uint64_t>(count);
      case ValueType::kU64:
        return numbers<uint64_t, uint64_t>(count);
      case ValueType::kI8:
        return numbers<int8_t, int64_t>(count);
      case ValueType::kI16:
        return numbers<int16_t, int64_t>(count);
      case ValueType::kI32:
        return numbers<int32_t, int64_t>(count);
      case ValueType::kI64:
        return numbers<int64_t, int64_t>(count);
      case ValueType::kF32:
        return numbers<float, double>(count);
      case ValueType::kF64:
        return numbers<double, double>(count);
      case ValueType::kBool:
        return numbers<uint8_t, bool>(count);
      case ValueType::kString: {
        // Grows as strings are really found: a reserve would be four times what empty strings take here.
        std::vector<std::string> strings;
        for (uint64_t i = 0; i < count; ++i) strings.push_back(string("an array's string"));
        return std::make_shared<const GgufArray>(GgufArray{std::move(strings)});
      }
      case ValueType::kArray: {
        std::vector<std::shared_ptr<const GgufArray>> arrays;
        for (uint64_t i = 0; i < count; ++i) arrays.push_back(array(depth + 1));
        return std::make_shared<const GgufArray>(GgufArray{std::move(arrays)});
      }
    }
    fail(fmt::format("unknown type {} of array elements", type));
  }

  std::span<const std::byte> bytes_;
  const std::string& what_;
  uint64_t position_ = 0;
};

struct Counts {
  uint32_t version = 0;
  uint64_t tensors = 0;
  uint64_t pairs = 0;
};

Counts read_header(Reader& reader) {
  static_assert(std::endian::native == std::endian::little);
  const auto magic = reader.number<std::array<char, 4>>("the GGUF header");
  if (std::string(magic.data(), 4) != "GGUF") reader.fail("expected a GGUF file, found another magic number");
  Counts counts;
  counts.version = reader.number<uint32_t>("the GGUF header");
  if (counts.version != 2 && counts.version != 3) {
    const bool swapped = counts.version == 0x02000000 || counts.version == 0x03000000;
    reader.fail(swapped ? std::string("a big-endian GGUF file; expected a little-endian one")
                        : fmt::format("expected GGUF version 2 or 3, found {}", counts.version));
  }
  counts.tensors = reader.number<uint64_t>("the GGUF header");
  counts.pairs = reader.number<uint64_t>("the GGUF header");
  // The shortest pair: length of an empty key, type, one byte. The shortest tensor: length, dimension count,
  // type, offset.
  if (counts.pairs > reader.left() / 13) {
    reader.fail(fmt::format("{} metadata pairs do not fit in the file", counts.pairs));
  }
  if (counts.tensors > reader.left() / 24) {
    reader.fail(fmt::format("{} tensors do not fit in the file", counts.tensors));
  }
  return counts;
}

GgufMetadata read_metadata(Reader& reader, uint64_t pairs) {
  GgufMetadata metadata;
  for (uint64_t i = 0; i < pairs; ++i) {
    std::string key = reader.string("a metadata key");
    if (key.empty()) reader.fail("a metadata key is empty");
    const auto type = reader.number<uint32_t>("a metadata type");
    GgufValue value = reader.value(type);
    if (!metadata.emplace(key, std::move(value)).second) {
      reader.fail(fmt::format("the metadata key \"{}\" occurs twice", key));
    }
  }
  return metadata;
}

/// Numbers and bytes of a tensor whose file dimensions (fastest first) are `ne`.
void set_size(GgufTensor& tensor, const std::vector<uint64_t>& ne, const GgmlTypeTraits& traits,
              const Reader& reader) {
  constexpr auto kMost = static_cast<uint64_t>(INT64_MAX);
  uint64_t count = 1;
  bool empty = false;
  for (const uint64_t extent : ne) {
    if (extent > kMost || (extent != 0 && count > kMost / extent)) {
      reader.fail(fmt::format("tensor \"{}\": its dimensions overflow", tensor.name));
    }
    empty = empty || extent == 0;
    count *= std::max<uint64_t>(extent, 1);
  }
  const auto block = static_cast<uint64_t>(traits.block_numbers);
  const uint64_t row = ne.empty() ? 1 : ne[0];
  if (row % block != 0) {
    reader.fail(fmt::format("tensor \"{}\": expected rows of a multiple of {} numbers for {}, found {}",
                            tensor.name, block, traits.name, row));
  }
  if (empty) count = 0;
  const auto block_bytes = static_cast<uint64_t>(traits.block_bytes);
  if (count / block > kMost / block_bytes) {
    reader.fail(fmt::format("tensor \"{}\": its size overflows", tensor.name));
  }
  tensor.bytes = count / block * block_bytes;
  tensor.shape.assign(ne.rbegin(), ne.rend());
}

GgufTensor read_tensor_entry(Reader& reader) {
  GgufTensor tensor;
  tensor.name = reader.string("a tensor's name");
  if (tensor.name.empty() || tensor.name.find('\0') != std::string::npos) {
    reader.fail("a tensor's name is empty or has a zero byte");
  }
  const auto dimensions = reader.number<uint32_t>("a tensor's dimensions");
  if (dimensions > kMaxGgufDimensions) {
    reader.fail(fmt::format("tensor \"{}\": expected at most {} dimensions, found {}", tensor.name,
                            kMaxGgufDimensions, dimensions));
  }
  std::vector<uint64_t> ne(dimensions);
  for (uint64_t& extent : ne) extent = reader.number<uint64_t>("a tensor's dimensions");
  const auto type = reader.number<uint32_t>("a tensor's type");
  const GgmlTypeTraits* traits = ggml_type_traits(type);
  if (traits == nullptr) reader.fail(fmt::format("tensor \"{}\": unknown type {}", tensor.name, type));
  tensor.type = static_cast<GgmlType>(type);
  set_size(tensor, ne, *traits, reader);
  tensor.offset = reader.number<uint64_t>("a tensor's offset");
  return tensor;
}

/// Alignment of the tensors' data.
uint64_t read_alignment(const GgufMetadata& metadata, const Reader& reader) {
  const auto found = metadata.find("general.alignment");
  if (found == metadata.end()) return kDefaultAlignment;
  const auto* value = std::get_if<uint64_t>(&found->second);
  if (value == nullptr || !std::has_single_bit(*value) || *value > UINT32_MAX) {
    reader.fail("general.alignment: expected a power of two");
  }
  return *value;
}

/// Turns offsets from the start of the data into offsets from the start of the file and checks that every
/// tensor has bytes of its own.
void place_tensors(std::vector<GgufTensor>& tensors, uint64_t header_end, uint64_t file_bytes,
                   uint64_t alignment, const std::string& what) {
  const uint64_t padding = (alignment - header_end % alignment) % alignment;
  const uint64_t data_bytes =
      file_bytes - header_end >= padding ? file_bytes - header_end - padding : uint64_t{0};
  for (GgufTensor& tensor : tensors) {
    if (tensor.offset % alignment != 0) {
      throw InputError("{}: tensor \"{}\": expected an offset that is a multiple of {}, found {}", what,
                       tensor.name, alignment, tensor.offset);
    }
    if (tensor.offset > data_bytes || tensor.bytes > data_bytes - tensor.offset) {
      throw InputError(
          "{}: tensor \"{}\": its {} bytes at offset {} reach beyond the {} bytes of data; the file is cut "
          "short or damaged",
          what, tensor.name, tensor.bytes, tensor.offset, data_bytes);
    }
    // An empty tensor of a file without data may start beyond the file's last byte.
    tensor.offset = tensor.bytes == 0 ? 0 : tensor.offset + header_end + padding;
  }
  std::vector<const GgufTensor*> order;
  for (const GgufTensor& tensor : tensors) {
    if (tensor.bytes > 0) order.push_back(&tensor);
  }
  std::sort(order.begin(), order.end(),
            [](const GgufTensor* a, const GgufTensor* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i]->offset - order[i - 1]->offset < order[i - 1]->bytes) {
      throw InputError("{}: the bytes of tensors \"{}\" and \"{}\" overlap", what, order[i - 1]->name,
                       order[i]->name);
    }
  }
}

}  // namespace

const GgufTensor* GgufContents::find(const std::string& name) const {
  const auto found = std::find_if(tensors.begin(), tensors.end(),
                                  [&](const GgufTensor& tensor) { return tensor.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

GgufContents parse_gguf(std::span<const std::byte> bytes, const std::string& what) {
  Reader reader(bytes, what);
  const Counts counts = read_header(reader);
  GgufContents contents;
  contents.version = counts.version;
  contents.metadata = read_metadata(reader, counts.pairs);
  const uint64_t alignment = read_alignment(contents.metadata, reader);
  std::set<std::string> names;
  for (uint64_t i = 0; i < counts.tensors; ++i) {
    contents.tensors.push_back(read_tensor_entry(reader));
    if (!names.insert(contents.tensors.back().name).second) {
      reader.fail(fmt::format("the tensor \"{}\" occurs twice", contents.tensors.back().name));
    }
  }
  place_tensors(contents.tensors, reader.position(), bytes.size(), alignment, what);
  return contents;
}

bool is_gguf_file(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  std::array<char, 4> magic{};
  return stream.read(magic.data(), 4) && std::string(magic.data(), 4) == "GGUF";
}

GgufMetadata read_gguf_metadata(const std::filesystem::path& path) {
  const MappedFile file(path);
  const std::string what = path.string();
  Reader reader(file.bytes(), what);
  const Counts counts = read_header(reader);
  return read_metadata(reader, counts.pairs);
}

}  // namespace ropescope
