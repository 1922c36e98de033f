#include "ropescope/weights/safetensors.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"

namespace ropescope {

namespace {

constexpr uint64_t kLengthBytes = 8;
// The reference reader's limit.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;
// {name: {"shape": [...]}} is as deep as a header gets.
constexpr int kMaxHeaderDepth = 4;

uint64_t read_header_length(std::span<const std::byte> bytes) {
  uint64_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) length |= std::to_integer<uint64_t>(bytes[i]) << (8 * i);
  return length;
}

std::string shown(const Json& value) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() > 60 ? text.substr(0, 60) + "..." : text;
}

uint64_t whole_number(const Json& value, const std::string& what) {
  if (!value.is_number_unsigned()) {
    throw InputError("{}: expected whole numbers of at least 0, found {}", what, shown(value));
  }
  return value.get<uint64_t>();
}

const Json& field(const Json& entry, const char* key, const std::string& what) {
  const auto found = entry.find(key);
  if (found == entry.end()) throw InputError("{}: \"{}\" is missing", what, key);
  return *found;
}

StoredTensor parse_entry(const std::string& name, const Json& entry, const FileBytes& file,
                         std::span<const std::byte> data, uint64_t& begin) {
  const std::string what = fmt::format("{}: tensor \"{}\"", file.path.string(), name);
  if (!entry.is_object()) throw InputError("{}: expected a JSON object, found {}", what, shown(entry));
  for (const auto& item : entry.items()) {
    const std::string& key = item.key();
    if (key != "dtype" && key != "shape" && key != "data_offsets") {
      throw InputError("{}: expected the keys dtype, shape and data_offsets only, found \"{}\"", what, key);
    }
  }
  StoredTensor tensor;
  tensor.info.name = name;
  tensor.info.file = file.path.filename().string();
  tensor.owner = file.owner;

  const Json& dtype = field(entry, "dtype", what);
  tensor.type = dtype.is_string() ? find_stored_type(dtype.get<std::string>()) : nullptr;
  if (tensor.type == nullptr) {
    throw InputError("{}: expected a dtype such as F32 or BF16, found {}", what, shown(dtype));
  }
  tensor.info.dtype = tensor.type->name;

  const Json& shape = field(entry, "shape", what);
  if (!shape.is_array() || shape.size() > kMaxDimensions) {
    throw InputError("{}: expected a shape of at most {} dimensions, found {}", what, kMaxDimensions,
                     shown(shape));
  }
  for (const Json& size : shape) {
    const uint64_t extent = whole_number(size, what + ": shape");
    if (extent > static_cast<uint64_t>(INT64_MAX)) {
      throw InputError("{}: the shape {} does not fit in 64 bits", what, shown(shape));
    }
    tensor.info.shape.push_back(static_cast<int64_t>(extent));
  }

  const Json& offsets = field(entry, "data_offsets", what);
  if (!offsets.is_array() || offsets.size() != 2) {
    throw InputError("{}: expected two data_offsets, found {}", what, shown(offsets));
  }
  begin = whole_number(offsets[0], what + ": data_offsets");
  const uint64_t end = whole_number(offsets[1], what + ": data_offsets");
  if (end < begin || end > data.size()) {
    throw InputError("{}: expected data_offsets inside the {} bytes of data, found [{}, {}]{}", what,
                     data.size(), begin, end, end < begin ? "" : "; the file may be cut short");
  }

  const auto count = count_elements(tensor.info.shape);
  uint64_t bits = 0;
  if (!count || __builtin_mul_overflow(static_cast<uint64_t>(*count), tensor.type->bits, &bits)) {
    throw InputError("{}: the size of shape {} does not fit in 64 bits", what, shown(shape));
  }
  if (bits % 8 != 0 || bits / 8 != end - begin) {
    throw InputError("{}: expected {} bytes for {} {}, found {} (data_offsets [{}, {}])", what,
                     (bits + 7) / 8, tensor.info.dtype, shown(shape), end - begin, begin, end);
  }
  tensor.info.bytes = end - begin;
  tensor.elements = data.subspan(begin, end - begin);
  return tensor;
}

void check_metadata(const Json& metadata, const std::string& what) {
  const bool texts = metadata.is_object() && std::all_of(metadata.begin(), metadata.end(),
                                                         [](const Json& value) { return value.is_string(); });
  if (!texts) throw InputError("{}: __metadata__: expected an object of texts", what);
}

// The ranges must cover the data from first to last byte: what two tensors share or nobody names is damage.
void check_ranges(std::vector<std::pair<uint64_t, const StoredTensor*>>& ranges, uint64_t data_bytes,
                  const std::string& what) {
  std::sort(ranges.begin(), ranges.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first < b.first : a.second->info.bytes < b.second->info.bytes;
  });
  uint64_t expected = 0;
  for (const auto& [begin, tensor] : ranges) {
    if (begin != expected) {
      throw InputError(
          "{}: tensor \"{}\": expected its data at offset {}, found {} ({})", what, tensor->info.name,
          expected, begin,
          begin < expected ? "it overlaps another tensor" : "the bytes between belong to no tensor");
    }
    expected = begin + tensor->info.bytes;
  }
  if (expected != data_bytes) {
    throw InputError("{}: expected {} bytes of data, found {}", what, expected, data_bytes);
  }
}

}  // namespace

bool looks_like_safetensors(std::span<const std::byte> bytes) {
  return bytes.size() > kLengthBytes && bytes[kLengthBytes] == std::byte{'{'} &&
         read_header_length(bytes) <= kMaxHeaderBytes;
}

std::vector<StoredTensor> parse_safetensors(const FileBytes& file) {
  const std::string what = file.path.string();
  if (file.bytes.size() < kLengthBytes) {
    throw InputError("{}: expected a safetensors file, found only {} bytes", what, file.bytes.size());
  }
  const uint64_t length = read_header_length(file.bytes);
  const uint64_t rest = file.bytes.size() - kLengthBytes;
  if (length > rest || length > kMaxHeaderBytes) {
    throw InputError("{}: expected a safetensors header within {} bytes, found a header length of {}", what,
                     std::min(rest, kMaxHeaderBytes), length);
  }
  const std::string_view text(reinterpret_cast<const char*>(file.bytes.data()) + kLengthBytes, length);
  if (text.empty() || text[0] != '{') {
    throw InputError("{}: expected a safetensors header that starts with '{{'", what);
  }
  const Json header = parse_json(text, what + ": safetensors header", kMaxHeaderDepth);
  const auto data = file.bytes.subspan(kLengthBytes + length);

  std::vector<StoredTensor> tensors;
  std::vector<uint64_t> begins;
  tensors.reserve(header.size());
  for (const auto& item : header.items()) {
    if (item.key() == "__metadata__") {
      check_metadata(item.value(), what);
      continue;
    }
    uint64_t begin = 0;
    tensors.push_back(parse_entry(item.key(), item.value(), file, data, begin));
    begins.push_back(begin);
  }
  std::vector<std::pair<uint64_t, const StoredTensor*>> ranges;
  for (size_t i = 0; i < tensors.size(); ++i) ranges.emplace_back(begins[i], &tensors[i]);
  check_ranges(ranges, data.size(), what);
  return tensors;
}

}  // namespace ropescope
